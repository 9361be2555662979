// The one writer of a rank: RUN/journal/r00007.lock, locked while it lives, holding what must
// outlive its journal files.
#pragma once

#include <cstdint>
#include <string>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

// Numbers that are never used again, though the files that had them are gone.
struct RankCursor {
  uint64_t next_file_number = 1;
  uint64_t next_seq = 1;
  uint64_t next_blob_number = 1;
  uint64_t sealed_file_number = 0;  // every file up to this one has been sealed
  uint64_t sealed_seq = 0;          // the last sequence number in them
};

// Movable; the lock is freed on destruction or by the kernel.
class RankLock {
 public:
  RankLock() = default;
  RankLock(RankLock&&) = default;
  RankLock& operator=(RankLock&&) = default;
  RankLock(const RankLock&) = delete;
  RankLock& operator=(const RankLock&) = delete;
  ~RankLock() { ForgetOwn(); }

  // Unavailable when another writer holds it for longer than `wait_ns`.
  static Result<RankLock> Take(const std::string& run_dir, Rank rank, TimeNs wait_ns);

  // A damaged or empty cursor reads as a new one: the files that are there tell the rest.
  [[nodiscard]] Result<RankCursor> ReadCursor() const;
  [[nodiscard]] Status WriteCursor(const RankCursor& cursor) const;

 private:
  void ForgetOwn() noexcept;
  FileDescriptor file_;
};

}  // namespace wheeltapper::format
