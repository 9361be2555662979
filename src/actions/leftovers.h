// Messages that the watchers of ended runs could not deliver: the next watcher with the same
// storage.path takes them on.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "wheeltapper/actions/action.h"
#include "wheeltapper/core/clock.h"

#include "message.h"
#include "spool.h"

namespace wheeltapper::actions {

// An alert that is older helps nobody any more.
inline constexpr int kLongestKeptDays = 7;
inline constexpr TimeNs kLongestKeptNs = TimeNs{kLongestKeptDays} * 24 * 3600 * 1'000'000'000;
inline constexpr const char* kSpoolFolder = "actions";

struct Leftover {
  std::shared_ptr<Spool> spool;  // locked while any of its messages is held
  std::string run_dir;
  uint64_t number = 0;
  Message message;
};

struct Leftovers {
  std::vector<Leftover> messages;
  std::vector<std::pair<std::string, ActionRecord>> records;  // run_dir, what to record there
  std::vector<std::string> warnings;                          // for the person, a line each
};

// Looks through the runs under `storage`. Left out: runs whose spool is locked (their watcher
// lives, or another one has taken them on) and those of other users. Kept where they are, with a
// warning: messages for actions that are not among `configured`. Set aside and recorded: messages
// older than kLongestKeptNs.
Leftovers FindLeftovers(const std::string& storage, const std::set<std::string>& configured,
                        const Clock& clock);

}  // namespace wheeltapper::actions
