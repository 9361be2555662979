#include "direct_queue.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <sys/syscall.h>
#include <unistd.h>

namespace wheeltapper::format {

DirectQueue::~DirectQueue() {
  if (context_ != 0) {
    syscall(SYS_io_destroy, context_);  // waits
  }
}

void DirectQueue::Start(const FileDescriptor& file, uint64_t offset, ByteSpan bytes) {
  const auto idle = [](const Slot& slot) { return !slot.busy; };
  auto free = std::find_if(slots_.begin(), slots_.end(), idle);
  if (free == slots_.end()) {
    Reap();
    free = std::find_if(slots_.begin(), slots_.end(), idle);
  }
  if (free == slots_.end()) {
    return;  // Reap has noted why
  }
  free->file = &file;
  free->offset = offset;
  free->bytes = bytes;
  free->busy = Submit(static_cast<size_t>(free - slots_.begin()));
  if (!free->busy) {
    Note(WriteAt(file, offset, bytes));
  }
}

bool DirectQueue::Submit(size_t slot) {
  if (context_ == 0 && !refused_) {
    refused_ = syscall(SYS_io_setup, slots_.size(), &context_) != 0;
    context_ = refused_ ? 0 : context_;
  }
  if (refused_) {
    return false;
  }
  Slot& of = slots_.at(slot);
  of.request = iocb{};
  of.request.aio_data = slot;
  of.request.aio_lio_opcode = IOCB_CMD_PWRITE;
  of.request.aio_fildes = static_cast<uint32_t>(of.file->get());
  of.request.aio_buf = reinterpret_cast<uint64_t>(of.bytes.data());
  of.request.aio_nbytes = of.bytes.size();
  of.request.aio_offset = static_cast<int64_t>(of.offset);
  iocb* request = &of.request;
  return syscall(SYS_io_submit, context_, 1L, &request) == 1;
}

void DirectQueue::Reap() {
  std::array<io_event, 2> events{};
  int64_t count = -1;
  do {
    count = syscall(SYS_io_getevents, context_, 1L, static_cast<int64_t>(events.size()),
                    events.data(), nullptr);
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    Note(ErrnoError(errno, "waiting for a write"));
  }
  for (int64_t i = 0; i < count; ++i) {
    const io_event& event = events.at(static_cast<size_t>(i));
    Complete(&slots_.at(event.data), event.res);
  }
}

void DirectQueue::Complete(Slot* slot, int64_t result) {
  slot->busy = false;
  if (result < 0) {
    Note(ErrnoError(static_cast<int>(-result), "writing file"));
  } else if (const auto done = static_cast<uint64_t>(result); done < slot->bytes.size()) {
    // Cut short: the rest says why, or goes through.
    Note(WriteAt(*slot->file, slot->offset + done, slot->bytes.subspan(done)));
  }
}

void DirectQueue::Note(Status status) {
  if (first_error_.ok()) {
    first_error_ = std::move(status);
  }
}

Status DirectQueue::Finish() {
  const auto busy = [](const Slot& slot) { return slot.busy; };
  bool stuck = false;
  while (!stuck && std::any_of(slots_.begin(), slots_.end(), busy)) {
    const auto before = std::count_if(slots_.begin(), slots_.end(), busy);
    Reap();
    stuck = std::count_if(slots_.begin(), slots_.end(), busy) == before;
  }
  return std::exchange(first_error_, Status());
}

}  // namespace wheeltapper::format
