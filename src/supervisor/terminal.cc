#include "terminal.h"

#include <csignal>

#include <unistd.h>

namespace wheeltapper::supervisor {
namespace {

// tcsetpgrp from a background group raises SIGTTOU, whose default action would stop the watcher.
void SetForeground(pid_t process_group) {
  sigset_t block;
  sigset_t before;
  sigemptyset(&block);
  sigaddset(&block, SIGTTOU);
  pthread_sigmask(SIG_BLOCK, &block, &before);
  (void)tcsetpgrp(STDIN_FILENO, process_group);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

Terminal::Terminal() { Refresh(); }

void Terminal::Refresh() {
  foreground_ = isatty(STDIN_FILENO) == 1 && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

void Terminal::GiveTo(pid_t process_group) const {
  if (foreground_) {
    SetForeground(process_group);
  }
}

void Terminal::TakeBack() const {
  if (foreground_) {
    SetForeground(getpgrp());
  }
}

}  // namespace wheeltapper::supervisor
