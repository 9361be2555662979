#include "terminal.h"

#include <cerrno>
#include <csignal>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace wheeltapper::supervisor {
namespace {

// tcsetpgrp from a background group raises SIGTTOU, whose default action would stop the watcher.
void SetForeground(int terminal, pid_t process_group) {
  sigset_t block;
  sigset_t before;
  sigemptyset(&block);
  sigaddset(&block, SIGTTOU);
  pthread_sigmask(SIG_BLOCK, &block, &before);
  (void)tcsetpgrp(terminal, process_group);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

Terminal::Terminal() {
  Result<FileDescriptor> terminal = OpenFile("/dev/tty", O_RDWR | O_NOCTTY);
  if (terminal.ok()) {
    terminal_ = std::move(terminal).value();
    lent_ = BelongsTo(getpgrp());
  }
}

pid_t Terminal::ForegroundGroup() const {
  return terminal_.valid() ? tcgetpgrp(terminal_.get()) : -1;
}

// tcgetpgrp fails on a terminal that is not the controlling one.
bool Terminal::on_stdin() const { return tcgetpgrp(STDIN_FILENO) >= 0; }

bool Terminal::stdin_in_foreground() const { return tcgetpgrp(STDIN_FILENO) == getpgrp(); }

bool Terminal::BelongsTo(pid_t process_group) const { return ForegroundGroup() == process_group; }

void Terminal::GiveTo(pid_t process_group) {
  const bool ours = BelongsTo(getpgrp());
  if (ours) {
    SetForeground(terminal_.get(), process_group);
  }
  lent_ = ours || BelongsTo(process_group);
}

void Terminal::TakeBackFrom(pid_t process_group) const {
  const pid_t now = ForegroundGroup();
  // A group of the job's own making (a shell in it) can be the last that had the terminal.
  const bool dead = lent_ && now > 1 && kill(-now, 0) != 0 && errno == ESRCH;
  if (now >= 0 && (now == process_group || dead)) {
    SetForeground(terminal_.get(), getpgrp());
  }
}

}  // namespace wheeltapper::supervisor
