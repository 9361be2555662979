#include "leftovers.h"

#include <map>

#include <sys/stat.h>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/plural.h"

namespace wheeltapper::actions {
namespace {

// Each holds a descriptor; the next run takes the rest.
constexpr size_t kMostRuns = 64;

// Messages go to receivers and programs in our name: never those that somebody else put there.
bool IsOurs(const std::string& folder) {
  struct stat info{};
  return lstat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid();
}

class Search {
 public:
  Search(const std::set<std::string>& configured, const Clock& clock)
      : configured_(configured), clock_(clock) {}

  void TakeRun(const std::string& run_dir) {
    auto spool = std::make_shared<Spool>(JoinPath(run_dir, kSpoolFolder));
    const Status locked = spool->Lock();
    if (locked.code() == StatusCode::kUnavailable) {
      return;
    }
    std::vector<std::string> damaged;
    const auto messages = locked.ok() ? spool->Load(&damaged)
                                      : Result<std::vector<std::pair<uint64_t, Message>>>(locked);
    if (!messages.ok()) {
      found_.warnings.push_back("the messages in " + spool->folder() +
                                " are not sent: " + messages.status().message());
      return;
    }
    for (const std::string& path : damaged) {
      found_.records.emplace_back(
          run_dir, ActionRecord{.action = "spool",
                                .outcome = "failed",
                                .detail = "unreadable message kept as " + path + ".damaged"});
    }
    std::map<std::string, int> unconfigured;
    for (const auto& [number, message] : *messages) {
      if (IsExpired(*spool, number)) {
        Expire(*spool, run_dir, number, message);
      } else if (!configured_.contains(message.action)) {
        ++unconfigured[message.action];
      } else {
        found_.messages.push_back({spool, run_dir, number, message});
      }
    }
    for (const auto& [action, count] : unconfigured) {
      found_.warnings.push_back(Plural(count, "message") + " of run " + BaseName(run_dir) +
                                " kept in " + spool->folder() + ": actions." + action +
                                " is not configured any more; configure it, or remove the files");
    }
  }

  [[nodiscard]] const Leftovers& found() const { return found_; }
  Leftovers Take() { return std::move(found_); }

 private:
  [[nodiscard]] bool IsExpired(const Spool& spool, uint64_t number) const {
    const Result<TimeNs> written = spool.WrittenAt(number);
    return written.ok() && clock_.WallNs() - *written > kLongestKeptNs;
  }

  void Expire(Spool& spool, const std::string& run_dir, uint64_t number, const Message& message) {
    const Result<std::string> kept = spool.Expire(number);
    if (!kept.ok()) {
      found_.warnings.push_back(kept.status().message());
      return;
    }
    found_.records.emplace_back(
        run_dir, ActionRecord{.action = message.action,
                              .finding_id = message.finding_id,
                              .event = message.event,
                              .outcome = "failed",
                              .detail = "not delivered for too long; kept as " + *kept});
  }

  const std::set<std::string>& configured_;
  const Clock& clock_;
  Leftovers found_;
};

}  // namespace

Leftovers FindLeftovers(const std::string& storage, const std::set<std::string>& configured,
                        const Clock& clock) {
  Search search(configured, clock);
  size_t runs = 0;
  for (const std::string& name : ListDirectory(storage).value_or(std::vector<std::string>())) {
    const std::string run_dir = JoinPath(storage, name);
    const std::string folder = JoinPath(run_dir, kSpoolFolder);
    if (!IsOurs(folder) || !Spool::HoldsMessages(folder)) {
      continue;
    }
    const size_t before = search.found().messages.size();
    search.TakeRun(run_dir);
    if (search.found().messages.size() > before && ++runs >= kMostRuns) {
      break;
    }
  }
  return search.Take();
}

}  // namespace wheeltapper::actions
