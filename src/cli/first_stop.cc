#include "first_stop.h"

namespace wheeltapper::cli {

void FirstStop::Ask(const std::string& run, const std::string& reason) {
  std::string first;
  {
    MutexLock lock(mutex_);
    if (asked_.wall_ns == 0) {
      asked_ = {.wall_ns = clock_.WallNs(), .run = run, .reason = reason};
    }
    first = asked_.reason;
  }
  job_->RequestStop(first);  // two may get here in either order
}

FirstStop::Asked FirstStop::asked() const {
  MutexLock lock(mutex_);
  return asked_;
}

}  // namespace wheeltapper::cli
