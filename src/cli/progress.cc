#include "progress.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "wheeltapper/core/env.h"

#include "context.h"

namespace wheeltapper::cli {
namespace {

constexpr TimeNs kQuietAtFirstNs = 2'000'000'000;
constexpr TimeNs kBetweenNs = 200'000'000;

}  // namespace

Progress::Progress(std::string what, Write write, const Clock& clock)
    : what_(std::move(what)),
      write_(std::move(write)),
      clock_(clock),
      due_ns_(clock.MonotonicNs() + kQuietAtFirstNs) {}

Progress::~Progress() {
  if (shown_ > 0) {
    Print("");
    write_("\r");
  }
}

void Progress::Show(int64_t done, int64_t total) {
  if (total > 0 && IsDue()) {
    const double share = static_cast<double>(done) / static_cast<double>(total);
    Print(fmt::format("wheeltapper: {}: {:.0f} %", what_, 100 * std::clamp(share, 0.0, 1.0)));
  }
}

void Progress::Count(int64_t done, std::string_view noun) {
  if (IsDue()) {
    Print(fmt::format("wheeltapper: {}: {}", what_, Plural(done, noun)));
  }
}

bool Progress::IsDue() {
  if (!write_) {
    return false;
  }
  const TimeNs now = clock_.MonotonicNs();
  if (now < due_ns_) {
    return false;
  }
  due_ns_ = now + kBetweenNs;
  return true;
}

// Overwrites the line; blanks cover what was longer.
void Progress::Print(const std::string& text) {
  write_("\r" + text + std::string(shown_ > text.size() ? shown_ - text.size() : 0, ' '));
  shown_ = text.size();
}

Progress::Write ProgressOutput(bool quiet) {
  const auto ci = GetEnv("CI");
  if (quiet || !IsTerminal(STDERR_FILENO) || (ci && !ci->empty())) {
    return {};
  }
  return SayRaw;
}

}  // namespace wheeltapper::cli
