#include "rank_lock.h"

#include <array>
#include <cstddef>

#include <fcntl.h>

#include "wheeltapper/core/crc32c.h"

#include "file_lock.h"
#include "run_names.h"

namespace wheeltapper::format {
namespace {

constexpr uint64_t kCursorMagic = 0x31524B5254575748;

// As stored. One write of 64 bytes at the head of the file, so a killed process leaves the old one
// or the new one.
struct StoredCursor {
  uint64_t magic = kCursorMagic;
  RankCursor cursor;
  std::array<uint8_t, 12> reserved{};
  uint32_t crc = 0;
};
static_assert(sizeof(StoredCursor) == 64);

uint32_t CrcOf(const StoredCursor& stored) {
  return Crc32c({reinterpret_cast<const uint8_t*>(&stored), offsetof(StoredCursor, crc)});
}

}  // namespace

void RankLock::ForgetOwn() noexcept {
  if (file_.valid()) {
    ForgetLock(file_);
  }
}

Result<RankLock> RankLock::Take(const std::string& run_dir, Rank rank, TimeNs wait_ns) {
  const std::string path = LockPath(run_dir, rank);
  RankLock lock;
  WT_ASSIGN_OR_RETURN(lock.file_, OpenFile(path, O_RDWR | O_CREAT));
  WT_RETURN_IF_ERROR(LockWithin(lock.file_, wait_ns)
                         .WithContext("opening the journal of rank " + std::to_string(rank.value) +
                                      " \"" + path + "\""));
  return lock;
}

Result<RankCursor> RankLock::ReadCursor() const {
  StoredCursor stored;
  WT_ASSIGN_OR_RETURN(const size_t got, ReadSome(file_, 0, &stored, sizeof(stored)));
  if (got < sizeof(stored) || stored.magic != kCursorMagic || stored.crc != CrcOf(stored)) {
    return RankCursor{};
  }
  return stored.cursor;
}

Status RankLock::WriteCursor(const RankCursor& cursor) const {
  StoredCursor stored;
  stored.cursor = cursor;
  stored.crc = CrcOf(stored);
  return WriteAt(file_, 0, {reinterpret_cast<const uint8_t*>(&stored), sizeof(stored)})
      .WithContext("writing the rank's cursor");
}

}  // namespace wheeltapper::format
