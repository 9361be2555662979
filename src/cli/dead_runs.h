// Brings in, beside a running job, what jobs that were killed together with their watcher left in
// their rings.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "wheeltapper/core/mutex.h"
#include "wheeltapper/core/thread.h"
#include "wheeltapper/format/run_reader.h"

namespace wheeltapper::cli {

// What is said of it, a message each.
std::vector<std::string> DeadRunsMessages(const format::DeadRunsReport& report, bool quiet);

// Owns one thread of low priority. Start and Stop belong to one thread.
class DeadRuns {
 public:
  // `storage`: the real path of the folder whose runs are brought in.
  DeadRuns(std::string storage, bool quiet) : storage_(std::move(storage)), quiet_(quiet) {}
  DeadRuns(const DeadRuns&) = delete;
  DeadRuns& operator=(const DeadRuns&) = delete;
  ~DeadRuns();

  void Start();
  // Tells the thread to end, and does not wait: the destructor does, for one segment that is looked
  // at, or one file that is read or sealed. Of runs outside `storage` it looks only at those that
  // are a day old: a file server that does not answer can hold it up by such a run.
  void Stop() WT_EXCLUDES(mutex_);

 private:
  void Work() WT_EXCLUDES(mutex_);
  // Until there may be more to do; false when told to end.
  bool WaitForMore() WT_EXCLUDES(mutex_);
  void Tell(const format::DeadRunsReport& report);

  const std::string storage_;
  const bool quiet_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ WT_GUARDED_BY(mutex_) = false;
  std::set<std::string> told_;  // the thread's
  Thread thread_;
};

}  // namespace wheeltapper::cli
