// Writes past the page cache, two of them under way at a time: while the disk takes one slice, the
// drain checksums the next.
#pragma once

#include <array>
#include <cstdint>

#include <linux/aio_abi.h>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format {

// Linux AIO by its system calls: it needs no library and, unlike io_uring, is allowed in
// containers. Where the kernel refuses it, each write is done at once. A process that is killed
// ends only when what it had under way has. Not thread-safe.
class DirectQueue {
 public:
  DirectQueue() = default;
  DirectQueue(const DirectQueue&) = delete;
  DirectQueue& operator=(const DirectQueue&) = delete;
  // Waits for what is under way.
  ~DirectQueue();

  // Starts writing all of `bytes` at `offset`, both aligned as `file` (O_DIRECT) wants it. Waits
  // for an earlier write while two are under way. `file` and `bytes` stay as they are until Finish.
  void Start(const FileDescriptor& file, uint64_t offset, ByteSpan bytes);
  // Waits for everything under way; the first error since the last Finish.
  Status Finish();

 private:
  struct Slot {
    bool busy = false;
    const FileDescriptor* file = nullptr;
    uint64_t offset = 0;
    ByteSpan bytes;
    iocb request{};
  };
  // False when the write has to be done at once.
  bool Submit(size_t slot);
  // Waits for one write at least.
  void Reap();
  void Complete(Slot* slot, int64_t result);
  void Note(Status status);

  aio_context_t context_ = 0;
  bool refused_ = false;
  std::array<Slot, 2> slots_;
  Status first_error_;
};

}  // namespace wheeltapper::format
