#include "wheeltapper/format/rank_segment.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "wheeltapper/format/journal.h"

#include "file_lock.h"
#include "nascent_segment.h"

namespace wheeltapper::format {
namespace {

constexpr uint64_t kPage = 4096;
// No ring is larger: sizes read from a damaged page stay harmless.
constexpr uint64_t kMaxRingBytes = uint64_t{1} << 40;

// Maps [page 0][journal ring twice][blob ring twice] of a segment file at one place.
Result<uint8_t*> MapSegment(const FileDescriptor& file, uint64_t journal_bytes, uint64_t blob_bytes,
                            bool writable) {
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  const uint64_t total = kPage + 2 * journal_bytes + 2 * blob_bytes;
  void* reserved =
      mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved ==
      MAP_FAILED) {  // NOLINT(performance-no-int-to-ptr,cppcoreguidelines-pro-type-cstyle-cast)
    return ErrnoError(errno, "reserving address space for a rank segment");
  }
  auto* base = static_cast<uint8_t*>(reserved);
  struct Piece {
    uint64_t address;
    uint64_t nbytes;
    uint64_t in_file;
  };
  const Piece pieces[] = {
      {0, kPage, 0},
      {kPage, journal_bytes, kPage},
      {kPage + journal_bytes, journal_bytes, kPage},
      {kPage + 2 * journal_bytes, blob_bytes, kPage + journal_bytes},
      {kPage + 2 * journal_bytes + blob_bytes, blob_bytes, kPage + journal_bytes},
  };
  for (const Piece& piece : pieces) {
    if (piece.nbytes == 0) {
      continue;
    }
    void* mapped =
        mmap(base + piece.address, piece.nbytes, protection, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
             file.get(), static_cast<off_t>(piece.in_file));
    if (mapped ==
        MAP_FAILED) {  // NOLINT(performance-no-int-to-ptr,cppcoreguidelines-pro-type-cstyle-cast)
      const int error = errno;
      munmap(reserved, total);
      return ErrnoError(error, "mapping a rank segment");
    }
  }
  return base;
}

// All zero when there is nothing.
struct stat StatOf(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) {
    info = {};
  }
  return info;
}

void InitialisePage(RankPage* page, const SegmentOptions& options, uint64_t journal_bytes,
                    uint64_t blob_bytes) {
  page->version = kFormatVersion;
  page->rank = options.rank.value;
  page->run_id = options.run_id;
  page->incarnation = options.incarnation;
  page->journal_ring_bytes = journal_bytes;
  page->blob_ring_bytes = blob_bytes;
  page->pid.store(getpid(), std::memory_order_relaxed);
  page->step.store(-1, std::memory_order_relaxed);
  page->heartbeat_ns.store(SystemClock().MonotonicNs(), std::memory_order_relaxed);
  if (options.run_dir.size() < sizeof(page->run_dir)) {
    std::copy(options.run_dir.begin(), options.run_dir.end(), page->run_dir);
    page->run_device = StatOf(options.run_dir).st_dev;
    page->folder_inodes = {StatOf(options.run_dir + "/..").st_ino,
                           StatOf(options.run_dir + "/../..").st_ino};
  }
  page->magic = kRankPageMagic;
}

Status CheckPage(const RankPage& page, uint64_t file_bytes) {
  if (page.magic != kRankPageMagic) {
    return DataLossError("attaching rank segment: wrong magic");
  }
  if (page.version > kFormatVersion) {
    return FailedPreconditionError(
        fmt::format("attaching rank segment: written by format {}, this build reads up to {}: "
                    "update Wheeltapper",
                    page.version, kFormatVersion));
  }
  const auto whole_pages = [](uint64_t nbytes) {
    return nbytes <= kMaxRingBytes && nbytes % kPage == 0;
  };
  if (page.rank < 0 || !whole_pages(page.journal_ring_bytes) ||
      !whole_pages(page.blob_ring_bytes) ||
      kPage + page.journal_ring_bytes + page.blob_ring_bytes != file_bytes) {
    return DataLossError("attaching rank segment: sizes do not fit the file");
  }
  return {};
}

}  // namespace

uint8_t* ByteRing::Reserve(uint64_t nbytes) noexcept {
  if (nbytes > capacity_) {
    return nullptr;
  }
  if (pending_ + nbytes - cached_tail_ > capacity_) {
    cached_tail_ = positions_->tail.load(std::memory_order_acquire);
    if (pending_ + nbytes - cached_tail_ > capacity_) {
      return nullptr;
    }
  }
  uint8_t* at = base_ + pending_ % capacity_;
  pending_ += nbytes;
  return at;
}

void ByteRing::Publish() noexcept {
  if (capacity_ > 0) {
    positions_->head.store(pending_, std::memory_order_release);
  }
}

void ByteRing::Abandon() noexcept {
  if (capacity_ > 0) {
    pending_ = positions_->head.load(std::memory_order_relaxed);
  }
}

double ByteRing::fill() const noexcept {
  if (capacity_ == 0) {
    return 0.0;
  }
  // The tail first: it never passes the head, so the difference cannot come out negative.
  const uint64_t tail = positions_->tail.load(std::memory_order_acquire);
  const uint64_t head = positions_->head.load(std::memory_order_acquire);
  return std::min(1.0, static_cast<double>(head - tail) / static_cast<double>(capacity_));
}

std::span<uint8_t> ByteRing::Readable() noexcept {
  if (capacity_ == 0) {
    return {};
  }
  const uint64_t tail = positions_->tail.load(std::memory_order_relaxed);
  const uint64_t head = positions_->head.load(std::memory_order_acquire);
  const uint64_t used = head - tail;
  if (used > capacity_) {
    return {};  // a damaged page; nothing in it can be trusted
  }
  return {base_ + tail % capacity_, used};
}

uint64_t ByteRing::offset() const noexcept {
  return capacity_ == 0 ? 0 : positions_->tail.load(std::memory_order_relaxed);
}

void ByteRing::Release(uint64_t nbytes) noexcept {
  if (capacity_ > 0) {
    positions_->tail.fetch_add(nbytes, std::memory_order_release);
  }
}

Result<std::unique_ptr<RankSegment>> RankSegment::Create(const SegmentOptions& options) {
  const uint64_t journal_bytes = AlignUp(options.journal_ring_bytes, kPage);
  const uint64_t blob_bytes = AlignUp(options.blob_ring_bytes, kPage);
  if (journal_bytes == 0 || journal_bytes > kMaxRingBytes || blob_bytes > kMaxRingBytes) {
    return InvalidArgumentError(
        fmt::format("creating rank segment: ring sizes out of range: {} and {} bytes",
                    options.journal_ring_bytes, options.blob_ring_bytes));
  }
  // Without a name wherever that can be: a SIGKILL while the rings are being faulted in leaves no
  // memory taken.
  Result<std::unique_ptr<RankSegment>> segment =
      Fill(NascentSegment::Unnamed(options.path), options);
  if (segment.status().code() == StatusCode::kUnimplemented) {
    segment = Fill(NascentSegment::Temporary(options.path), options);
  }
  return segment;
}

// Locked and filled in before it gets its name: whoever finds a segment finds a whole one, and an
// unlocked one has no writer.
Result<std::unique_ptr<RankSegment>> RankSegment::Fill(
    Result<std::unique_ptr<NascentSegment>> nascent, const SegmentOptions& options) {
  WT_RETURN_IF_ERROR(nascent.status());
  NascentSegment& made = **nascent;
  const uint64_t journal_bytes = AlignUp(options.journal_ring_bytes, kPage);
  const uint64_t blob_bytes = AlignUp(options.blob_ring_bytes, kPage);
  // Allocated, not only sized: a full /dev/shm is an error here and not a SIGBUS in training.
  if (const int error = posix_fallocate(made.file().get(), 0,
                                        static_cast<off_t>(kPage + journal_bytes + blob_bytes));
      error != 0) {
    return ErrnoError(error, "allocating rank segment \"" + options.path + "\"");
  }
  std::unique_ptr<RankSegment> segment(
      new RankSegment());  // NOLINT(cppcoreguidelines-owning-memory)
  segment->path_ = options.path;
  WT_ASSIGN_OR_RETURN(uint8_t* const base,
                      MapSegment(made.file(), journal_bytes, blob_bytes, true));
  segment->AdoptMapping(base, journal_bytes, blob_bytes);
  InitialisePage(segment->page_, options, journal_bytes, blob_bytes);
  WT_RETURN_IF_ERROR(made.GiveName());
  segment->file_ = made.TakeFile();
  segment->lock_ = made.TakeLock();
  return segment;
}

Result<std::unique_ptr<RankSegment>> RankSegment::Attach(const std::string& path, bool writable) {
  std::unique_ptr<RankSegment> segment(
      new RankSegment());  // NOLINT(cppcoreguidelines-owning-memory)
  const int access = writable ? O_RDWR : O_RDONLY;
  WT_ASSIGN_OR_RETURN(segment->file_, OpenFile(path, access | O_NOFOLLOW));
  // NFS gives an exclusive lock only for what is open for writing.
  WT_ASSIGN_OR_RETURN(segment->lock_, OpenFile(path, access | O_NOFOLLOW));
  segment->path_ = path;
  WT_ASSIGN_OR_RETURN(const uint64_t file_bytes, FileSize(segment->file_));
  if (file_bytes < kPage) {
    return DataLossError("attaching rank segment: shorter than a page: \"" + path + "\"");
  }
  uint64_t journal_bytes = 0;
  uint64_t blob_bytes = 0;
  {
    WT_ASSIGN_OR_RETURN(uint8_t* const base, MapSegment(segment->file_, 0, 0, false));
    const auto* page = reinterpret_cast<const RankPage*>(base);
    const Status checked = CheckPage(*page, file_bytes).WithContext("\"" + path + "\"");
    journal_bytes = page->journal_ring_bytes;
    blob_bytes = page->blob_ring_bytes;
    munmap(base, kPage);
    WT_RETURN_IF_ERROR(checked);
  }
  WT_ASSIGN_OR_RETURN(uint8_t* const base,
                      MapSegment(segment->file_, journal_bytes, blob_bytes, writable));
  segment->AdoptMapping(base, journal_bytes, blob_bytes);
  return segment;
}

void RankSegment::AdoptMapping(uint8_t* base, uint64_t journal_bytes, uint64_t blob_bytes) {
  base_ = base;
  mapped_bytes_ = kPage + 2 * journal_bytes + 2 * blob_bytes;
  page_ = reinterpret_cast<RankPage*>(base);
  journal_ring_ = ByteRing(&page_->journal, base + kPage, journal_bytes);
  blob_ring_ = ByteRing(&page_->blob, base + kPage + 2 * journal_bytes, blob_bytes);
}

RankSegment::~RankSegment() {
  if (base_ != nullptr) {
    munmap(base_, mapped_bytes_);
  }
  ForgetLock(lock_);
}

Status RankSegment::LockWriter(TimeNs wait_ns) {
  return LockWithin(lock_, wait_ns).WithContext("taking the writer's lock of \"" + path_ + "\"");
}

Status RankSegment::Remove() { return RemoveFile(path_); }

std::string SegmentPrefix(uint64_t run_id, Rank rank) {
  return fmt::format("{}{:016x}-r{:05}-", kSegmentNamePrefix, run_id, rank.value);
}

std::string SegmentPath(const std::string& run_dir, uint64_t run_id, Rank rank,
                        uint64_t incarnation, uint64_t nbytes) {
  // Half of the room stays free: DataLoader workers pass tensors through the same folder, and a
  // container gives it 64 MiB.
  struct statvfs info{};
  if (statvfs(kSegmentFolder, &info) == 0 && access(kSegmentFolder, W_OK) == 0 &&
      uint64_t{info.f_bavail} * info.f_frsize / 2 >= nbytes + kPage) {
    return JoinPath(kSegmentFolder, SegmentPrefix(run_id, rank) + std::to_string(incarnation));
  }
  return SegmentPathInRun(run_dir, rank, incarnation);
}

std::string SegmentPathInRun(const std::string& run_dir, Rank rank, uint64_t incarnation) {
  return JoinPath(JoinPath(run_dir, "journal"),
                  fmt::format("r{:05}-{}{}", rank.value, incarnation, kSegmentInRunSuffix));
}

}  // namespace wheeltapper::format
