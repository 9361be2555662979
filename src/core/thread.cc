#include "wheeltapper/core/thread.h"

#include <csignal>
#include <exception>
#include <system_error>
#include <utility>

#include <cxxabi.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "wheeltapper/core/log.h"

namespace wheeltapper {
namespace {

// Signals belong to the user's threads. A fault of this thread's own is left to whatever handler
// the process has (Python's faulthandler): a blocked one would kill without a trace.
sigset_t AllButFaults() {
  sigset_t signals;
  sigfillset(&signals);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
    sigdelset(&signals, fault);
  }
  return signals;
}

// An exception that left the body would end the user's process.
void RunBody(const std::string& name, const std::function<void()>& body) {
  try {
    body();
  } catch (const abi::__forced_unwind&) {
    throw;  // the C library ends the thread: not ours to stop
  } catch (const std::exception& error) {
    Log(LogLevel::kError, "thread \"" + name + "\" ended early: " + error.what());
  } catch (...) {
    Log(LogLevel::kError, "thread \"" + name + "\" ended early by an unknown exception");
  }
}

}  // namespace

Status Thread::Start(const std::string& name, std::function<void()> body) {
  if (running()) {
    return FailedPreconditionError("starting thread: already running: \"" + name + "\"");
  }
  // The new thread inherits the mask.
  const sigset_t blocked = AllButFaults();
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  Status status;
  try {
    thread_ = std::thread([name, run = std::move(body)] {
      pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
      RunBody(name, run);
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
