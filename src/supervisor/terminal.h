// The controlling terminal, shared between the watcher and the job.
#pragma once

#include <sys/types.h>

#include "wheeltapper/core/file.h"

namespace wheeltapper::supervisor {

// Which process group is in the foreground of the controlling terminal (/dev/tty, wherever stdin
// leads), and handing that place over. Every answer is asked anew, for the shell changes it behind
// our back (`fg`, `bg`). Does nothing where there is no terminal. Single-threaded.
class Terminal {
 public:
  Terminal();
  [[nodiscard]] bool valid() const { return ForegroundGroup() >= 0; }
  // True when stdin is that terminal and the watcher is in its foreground.
  [[nodiscard]] bool stdin_in_foreground() const;
  // True when stdin is that terminal.
  [[nodiscard]] bool on_stdin() const;
  // True when `process_group` is in the foreground.
  [[nodiscard]] bool BelongsTo(pid_t process_group) const;
  // Puts the group into the foreground when the watcher's own group is there: only what is ours is
  // given away.
  void GiveTo(pid_t process_group);
  // The reverse, when `process_group` is in the foreground, or a group that got it from there and
  // has died.
  void TakeBackFrom(pid_t process_group) const;

 private:
  [[nodiscard]] pid_t ForegroundGroup() const;  // -1: there is none

  FileDescriptor terminal_;
  bool lent_ = false;  // when last asked, the foreground was ours or the job's
};

}  // namespace wheeltapper::supervisor
