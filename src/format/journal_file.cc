#include "journal_file.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include <fcntl.h>
#include <unistd.h>

#include "wheeltapper/core/crc32c.h"

namespace wheeltapper::format {

void FinishRecord(std::span<uint8_t> record, uint32_t salt) {
  RecordHeader header = LoadUnaligned<RecordHeader>(record.data());
  const size_t used = sizeof(header) + header.payload_bytes;
  std::memset(record.data() + used, 0, record.size() - used);
  header.magic = kRecordMagic ^ salt;
  header.payload_crc = Crc32c(record.subspan(sizeof(header), header.payload_bytes));
  header.header_crc =
      Crc32c({reinterpret_cast<const uint8_t*>(&header), offsetof(RecordHeader, header_crc)});
  header.reserved2 = 0;
  std::memcpy(record.data(), &header, sizeof(header));
}

std::vector<uint8_t> RepeatedDescRecords(const EncodedDescs& descs, TimeNs wall_ns) {
  constexpr size_t kPayloadBytes = size_t{1} << 20;
  std::vector<uint32_t> ids;
  ids.reserve(descs.size());
  for (const auto& [id, encoded] : descs) {
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ByteWriter records;
  for (size_t next = 0; next < ids.size();) {
    ByteWriter entries;
    uint32_t count = 0;
    while (next < ids.size() && entries.size() < kPayloadBytes) {
      entries.WriteSpan(descs.at(ids[next++]));
      ++count;
    }
    RecordHeader header{};
    header.magic = kRecordMagic;
    header.type = RecordType::kDesc;
    header.flags = kSelfCommitted | kRepeated;
    header.payload_bytes = sizeof(CountHeader) + entries.size();
    header.wall_ns = wall_ns;
    records.Write(header);
    records.Write(CountHeader{count, 0});
    records.WriteSpan(entries.span());
    records.PadTo(kRecordAlignment);
  }
  return std::move(records.bytes());
}

Result<std::unique_ptr<JournalFile>> JournalFile::Create(const std::string& path,
                                                         const JournalIdentity& identity,
                                                         std::vector<uint8_t> head) {
  JournalFileHeader header{};
  header.magic = kJournalMagic;
  header.version = kFormatVersion;
  header.rank = identity.rank.value;
  header.run_id = identity.run_id;
  header.file_number = identity.file_number;
  header.salt = identity.salt;
  header.created_wall_ns = identity.created_wall_ns;
  const auto* raw = reinterpret_cast<const uint8_t*>(&header);
  header.crc = Crc32c({raw, offsetof(JournalFileHeader, crc)});
  for (size_t at = 0; at < head.size();) {
    const auto record = LoadUnaligned<RecordHeader>(head.data() + at);
    const size_t nbytes = RecordBytes(record.payload_bytes);
    FinishRecord(std::span(head).subspan(at, nbytes), static_cast<uint32_t>(identity.salt));
    at += nbytes;
  }
  std::unique_ptr<JournalFile> file(new JournalFile());  // NOLINT(cppcoreguidelines-owning-memory)
  file->path_ = path;
  file->identity_ = identity;
  WT_ASSIGN_OR_RETURN(file->file_, OpenFile(path, O_RDWR | O_CREAT | O_EXCL));
  head.insert(head.begin(), raw, raw + sizeof(header));
  uint64_t written = 0;
  if (Status status = file->Append(head, &written); !status.ok()) {
    RemoveFile(path).IgnoreError("an empty journal file is sealed into nothing");
    return status.WithContext("creating journal file");
  }
  return file;
}

Result<std::unique_ptr<JournalFile>> JournalFile::Reopen(const std::string& path,
                                                         const JournalIdentity& identity,
                                                         uint64_t size) {
  std::unique_ptr<JournalFile> file(new JournalFile());  // NOLINT(cppcoreguidelines-owning-memory)
  file->path_ = path;
  file->identity_ = identity;
  file->size_ = size;
  WT_ASSIGN_OR_RETURN(file->file_, OpenFile(path, O_RDWR));
  if (ftruncate(file->file_.get(), static_cast<off_t>(size)) != 0) {
    return ErrnoError(errno, "cutting the torn tail of \"" + path + "\"");
  }
  return file;
}

Status JournalFile::Append(ByteSpan bytes, uint64_t* written) {
  *written = 0;
  while (!bytes.empty()) {
    const ssize_t put = pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put <= 0) {
      return ErrnoError(put == 0 ? ENOSPC : errno, "writing journal \"" + path_ + "\"");
    }
    size_ += static_cast<uint64_t>(put);
    *written += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Status JournalFile::AppendWhole(ByteSpan bytes) {
  uint64_t written = 0;
  Status status = Append(bytes, &written);
  if (!status.ok() && written > 0) {
    size_ -= written;
    if (ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) {
      return ErrnoError(errno, "taking back half a record of \"" + path_ + "\"");
    }
  }
  return status;
}

Status JournalFile::Sync() {
  return fdatasync(file_.get()) == 0 ? Status()
                                     : ErrnoError(errno, "syncing journal \"" + path_ + "\"");
}

}  // namespace wheeltapper::format
