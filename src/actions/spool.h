// Messages that are not delivered yet, one small file each under RUN/actions/, so that neither a
// crash nor an unreachable receiver loses one. They hold what the receiver gets and the name of the
// action; where to, and any secret, is the configuration's. Single-threaded (the router's lock
// guards it).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"

#include "message.h"

namespace wheeltapper::actions {

class Spool {
 public:
  explicit Spool(std::string folder) : folder_(std::move(folder)) {}

  // True when there are messages in a folder; takes no lock.
  static bool HoldsMessages(const std::string& folder);

  // The messages in a folder, oldest first, without those that cannot be read; takes no lock and
  // changes nothing.
  static Result<std::vector<Message>> Peek(const std::string& folder);

  // Makes the folder and takes its lock (flock of "lock"), which lasts as long as this object and
  // this process: who holds it delivers the messages, nobody else does. Unavailable when it is
  // taken.
  Status Lock();
  // What an earlier router left, oldest first. Unreadable files are kept aside as *.damaged and
  // reported in `damaged`.
  Result<std::vector<std::pair<uint64_t, Message>>> Load(std::vector<std::string>* damaged);
  // When a message was added.
  [[nodiscard]] Result<TimeNs> WrittenAt(uint64_t number) const;
  // Keeps a message durably; returns its number.
  Result<uint64_t> Add(const Message& message);
  // The message was delivered, or never will be.
  Status Remove(uint64_t number);
  // Keeps a message as *.expired, which no Load finds; returns its path.
  Result<std::string> Expire(uint64_t number);

  [[nodiscard]] const std::string& folder() const { return folder_; }

 private:
  [[nodiscard]] std::string PathOf(uint64_t number) const;
  std::string folder_;
  FileDescriptor lock_;
  uint64_t next_ = 1;
};

}  // namespace wheeltapper::actions
