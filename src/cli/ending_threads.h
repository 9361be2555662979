// The threads that end the runs of a command while the command goes on.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <list>

#include "wheeltapper/core/thread.h"

namespace wheeltapper::cli {

// Not thread-safe.
class EndingThreads {
 public:
  EndingThreads() = default;
  EndingThreads(const EndingThreads&) = delete;
  EndingThreads& operator=(const EndingThreads&) = delete;
  ~EndingThreads() { JoinAll(); }

  // Runs `body` on a thread of its own, or here where the system refuses one.
  void Start(std::function<void()> body);
  // Joins those whose body has returned, so that a command of hundreds of trainings does not keep
  // as many stacks; waits for no other.
  void JoinEnded();
  void JoinAll();
  // How many are not joined.
  [[nodiscard]] size_t count() const { return endings_.size(); }

 private:
  struct Ending {
    std::atomic<bool> ended = false;
    Thread thread;
  };
  std::list<Ending> endings_;  // threads point into it
};

}  // namespace wheeltapper::cli
