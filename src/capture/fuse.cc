#include "fuse.h"

#include <fmt/format.h>

namespace wheeltapper::capture {

void Fuse::Report(StatusCode code, const char* what) noexcept {
  const auto index = static_cast<size_t>(code);
  if (index == 0 || index >= kCodes) {
    return;
  }
  latest_[index].store(what, std::memory_order_release);
  counts_[index].fetch_add(1, std::memory_order_release);
  StatusCode none = StatusCode::kOk;
  if (first_code_.compare_exchange_strong(none, code, std::memory_order_relaxed)) {
    first_what_.store(what, std::memory_order_release);
  }
  if (errors_.fetch_add(1, std::memory_order_relaxed) + 1 >= max_errors_) {
    blown_.store(true, std::memory_order_release);
  }
}

void Fuse::Blow(StatusCode code, const char* what) noexcept {
  Report(code, what);
  blown_.store(true, std::memory_order_release);
}

Status Fuse::first() const {
  const char* what = first_what_.load(std::memory_order_acquire);
  if (what == nullptr) {
    return Status::Ok();
  }
  return {first_code_.load(std::memory_order_relaxed), what};
}

std::string Fuse::ToJson() const {
  const Status why = first();
  return fmt::format(R"({{"kind":"disabled","code":"{}","what":"{}","errors":{}}})",
                     StatusCodeName(why.code()), why.message(), errors());
}

}  // namespace wheeltapper::capture
