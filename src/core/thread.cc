#include "wheeltapper/core/thread.h"

#include <csignal>
#include <system_error>
#include <utility>

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

namespace wheeltapper {

Status Thread::Start(const std::string& name, std::function<void()> body) {
  if (running()) {
    return FailedPreconditionError("starting thread: already running: \"" + name + "\"");
  }
  // Signals belong to the user's threads: block all while the new one inherits its mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Status status;
  try {
    thread_ = std::thread([name, run = std::move(body)] {
      pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
      run();
    });
  } catch (const std::system_error& error) {
    status = ResourceExhaustedError("starting thread: " + std::string(error.what()) + ": \"" +
                                    name + "\"");
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return status;
}

void Thread::Join() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

void LowerThreadPriority() {
  const sched_param parameters{};
  pthread_setschedparam(pthread_self(), SCHED_BATCH, &parameters);
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 10);
}

}  // namespace wheeltapper
