// Status and Result<T>: how every fallible function of this project reports failure. No exception
// crosses a module's interface; the Python bindings translate a Status into a Python exception in
// one place.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace wheeltapper {

enum class StatusCode : uint8_t {
  kOk = 0,
  kInvalidArgument,     // the caller passed something that can never work
  kNotFound,            // a named thing does not exist
  kAlreadyExists,       // a thing that must be new is there
  kFailedPrecondition,  // the state does not allow it now
  kOutOfRange,          // past the end of what exists
  kResourceExhausted,   // disk, memory, quota, ring
  kUnavailable,         // may work when tried again
  kDeadlineExceeded,    // ran out of time
  kCancelled,           // someone asked to stop
  kDataLoss,            // stored bytes are damaged
  kUnimplemented,       // known, but not built
  kInternal,            // our own mistake
};

// "INVALID_ARGUMENT", as in log lines and JSON.
std::string_view StatusCodeName(StatusCode code);

// True where trying the same call again may succeed.
constexpr bool IsRetryable(StatusCode code) {
  return code == StatusCode::kUnavailable || code == StatusCode::kDeadlineExceeded;
}

// The outcome of an operation. OK is a null pointer and costs nothing. A dropped Status does not
// compile. Messages read "doing what: why: value".
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message);

  static Status Ok() { return {}; }

  [[nodiscard]] bool ok() const { return state_ == nullptr; }
  [[nodiscard]] StatusCode code() const { return ok() ? StatusCode::kOk : state_->code; }
  [[nodiscard]] const std::string& message() const;
  // "DATA_LOSS: reading index: …"
  [[nodiscard]] std::string ToString() const;
  // The same error with "context: " put in front; OK stays OK.
  [[nodiscard]] Status WithContext(std::string_view context) const;
  // Says in code why a failure does not matter here.
  void IgnoreError(std::string_view /*why*/) const {}

 private:
  struct State {
    StatusCode code;
    std::string message;
  };
  std::shared_ptr<const State> state_;
};

// Errors that are told together: a user mends all of them at once. Not thread-safe.
class Problems {
 public:
  // OK adds nothing.
  void Add(const Status& status);
  [[nodiscard]] bool empty() const { return status_.ok(); }
  // The messages, one a line, under the code of the first; OK when there is none.
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  Status status_;
};

Status InvalidArgumentError(std::string message);
Status NotFoundError(std::string message);
Status AlreadyExistsError(std::string message);
Status FailedPreconditionError(std::string message);
Status OutOfRangeError(std::string message);
Status ResourceExhaustedError(std::string message);
Status UnavailableError(std::string message);
Status DeadlineExceededError(std::string message);
Status CancelledError(std::string message);
Status DataLossError(std::string message);
Status UnimplementedError(std::string message);
Status InternalError(std::string message);
// From an errno value: ENOENT → NotFound, EEXIST → AlreadyExists, ENOSPC/ENOMEM/EDQUOT →
// ResourceExhausted, EACCES/EROFS/EPERM/EISDIR → FailedPrecondition, EAGAIN/EINTR → Unavailable,
// EINVAL/ENAMETOOLONG/ELOOP → InvalidArgument, else Internal. Text: "<what>: <strerror>".
Status ErrnoError(int error_number, std::string_view what);

// Ends the process: a Result without a value was dereferenced. Only a programming mistake gets
// here.
[[noreturn]] void DieOnBadResult(const Status& status);

// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {  // NOLINT(google-explicit-constructor)
    if (status_.ok()) {
      status_ = InternalError("Result built from an OK Status");
    }
  }

  [[nodiscard]] bool ok() const { return value_.has_value(); }
  [[nodiscard]] const Status& status() const { return status_; }

  const T& value() const& {
    Check();
    return *value_;
  }
  T& value() & {
    Check();
    return *value_;
  }
  T&& value() && {
    Check();
    return *std::move(value_);
  }
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }
  template <typename U>
  T value_or(U&& fallback) const& {
    return ok() ? *value_ : static_cast<T>(std::forward<U>(fallback));
  }

 private:
  void Check() const {
    if (!ok()) {
      DieOnBadResult(status_);
    }
  }
  Status status_;
  std::optional<T> value_;
};

}  // namespace wheeltapper

#define WT_CONCAT_INNER(a, b) a##b
#define WT_CONCAT(a, b) WT_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expr` (a Status) is not OK.
#define WT_RETURN_IF_ERROR(expr)                                     \
  do {                                                               \
    if (::wheeltapper::Status wt_status = (expr); !wt_status.ok()) { \
      return wt_status;                                              \
    }                                                                \
  } while (false)

// `lhs` gets the value of `expr` (a Result), or the enclosing function returns its Status.
#define WT_ASSIGN_OR_RETURN(lhs, expr) \
  WT_ASSIGN_OR_RETURN_INNER(WT_CONCAT(wt_result_, __LINE__), lhs, expr)
#define WT_ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                              \
  if (!result.ok()) {                                \
    return result.status();                          \
  }                                                  \
  lhs = std::move(result).value()
