// The controlling terminal, shared between the watcher and the job.
#pragma once

#include <sys/types.h>

namespace wheeltapper::supervisor {

// Hands the terminal on stdin to the job's process group and takes it back. Does nothing when stdin
// is no terminal or the watcher is itself in the background. Single-threaded.
class Terminal {
 public:
  // Remembers whether the watcher is in the foreground now.
  Terminal();
  // True when there is a terminal to hand over.
  [[nodiscard]] bool foreground() const { return foreground_; }
  void GiveTo(pid_t process_group) const;
  void TakeBack() const;
  // Asks again after a stop: `fg` and `bg` change the answer.
  void Refresh();

 private:
  bool foreground_ = false;
};

}  // namespace wheeltapper::supervisor
