// Messages that are not delivered yet, one small file each under RUN/actions/, so that neither a
// crash nor an unreachable receiver loses one. Single-threaded (the router's lock guards it).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "wheeltapper/core/status.h"

#include "message.h"

namespace wheeltapper::actions {

class Spool {
 public:
  explicit Spool(std::string folder) : folder_(std::move(folder)) {}

  // What an earlier router left, oldest first. Unreadable files are kept aside as *.damaged and
  // reported in `damaged`.
  Result<std::vector<std::pair<uint64_t, Message>>> Load(std::vector<std::string>* damaged);
  // Keeps a message durably; returns its number.
  Result<uint64_t> Add(const Message& message);
  // The message was delivered, or never will be.
  Status Remove(uint64_t number);

 private:
  [[nodiscard]] std::string PathOf(uint64_t number) const;
  std::string folder_;
  uint64_t next_ = 1;
};

}  // namespace wheeltapper::actions
