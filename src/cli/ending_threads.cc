#include "ending_threads.h"

#include <utility>

namespace wheeltapper::cli {

void EndingThreads::Start(std::function<void()> body) {
  Ending& ending = endings_.emplace_back();
  const Status started = ending.thread.Start("wt-cli-end", [&ending, body] {
    struct Mark {  // also where an exception leaves the body
      std::atomic<bool>* ended;
      ~Mark() { ended->store(true); }
    };
    const Mark mark{&ending.ended};
    body();
  });
  if (!started.ok()) {
    endings_.pop_back();
    body();
  }
}

void EndingThreads::JoinEnded() {
  endings_.remove_if([](Ending& ending) {
    if (!ending.ended) {
      return false;
    }
    ending.thread.Join();
    return true;
  });
}

void EndingThreads::JoinAll() {
  for (Ending& ending : endings_) {
    ending.thread.Join();
  }
  endings_.clear();
}

}  // namespace wheeltapper::cli
