// Zip layout as in PKWARE's APPNOTE 6.3.10: local header (4.3.7), central directory (4.3.12), zip64
// end records (4.3.14, 4.3.15), end of central directory (4.3.16). zip64 is always used, so there
// is one code path to test; but not where nothing is in it.
#include "npz.h"

#include <array>
#include <utility>

#include <fcntl.h>
#include <isa-l/crc.h>

namespace wheeltapper::cli {
namespace {

constexpr uint16_t kZip64Version = 45;
constexpr uint32_t kIn64BitField = 0xFFFFFFFFU;
constexpr uint16_t kUtf8Names = 0x0800;
constexpr uint16_t kDate1980 =
    (1 << 5) | 1;  // 1980-01-01, zip's earliest: archives of equal content are equal

const char* NumpyType(tensor::DType dtype) {
  using tensor::DType;
  switch (dtype) {
    case DType::kBool:
      return "|b1";
    case DType::kU8:
    case DType::kF8E4M3:
    case DType::kF8E5M2:
      return "|u1";
    case DType::kI8:
      return "|i1";
    case DType::kU16:
    case DType::kBF16:
      return "<u2";
    case DType::kI16:
      return "<i2";
    case DType::kU32:
      return "<u4";
    case DType::kI32:
      return "<i4";
    case DType::kU64:
      return "<u8";
    case DType::kI64:
      return "<i8";
    case DType::kF16:
      return "<f2";
    case DType::kF32:
      return "<f4";
    case DType::kF64:
      return "<f8";
    case DType::kC64:
      return "<c8";
    case DType::kC128:
      return "<c16";
  }
  return "|u1";
}

// Magic, version 1.0, and the header dictionary padded so that the data is 64-byte aligned within
// the member.
std::string NpyHeader(tensor::DType dtype, const std::vector<int64_t>& shape) {
  std::string dims;
  for (const int64_t extent : shape) {
    dims += std::to_string(extent) + ",";
  }
  std::string dictionary = std::string("{'descr': '") + NumpyType(dtype) +
                           "', 'fortran_order': False, 'shape': (" + dims + "), }";
  constexpr size_t kPrefix = 10;
  dictionary.resize(AlignUp(kPrefix + dictionary.size() + 1, 64) - kPrefix - 1, ' ');
  dictionary += '\n';
  std::string header = "\x93NUMPY";
  header += '\x01';
  header += '\0';
  header += static_cast<char>(dictionary.size() & 0xFF);
  header += static_cast<char>(dictionary.size() >> 8);
  return header + dictionary;
}

uint32_t ZipCrc(ByteSpan bytes, uint32_t seed) {
  return crc32_gzip_refl(seed, bytes.data(), bytes.size());
}

}  // namespace

Result<NpzWriter> NpzWriter::Create(const std::string& path) {
  WT_ASSIGN_OR_RETURN(FileDescriptor file, OpenFile(path + ".tmp", O_WRONLY | O_CREAT | O_TRUNC));
  return NpzWriter(path, std::move(file));
}

Status NpzWriter::Append(ByteSpan bytes) {
  WT_RETURN_IF_ERROR(WriteAll(file_, bytes).WithContext("writing \"" + path_ + "\""));
  offset_ += bytes.size();
  return {};
}

Status NpzWriter::Add(const std::string& name, tensor::DType dtype,
                      const std::vector<int64_t>& shape, ByteSpan data) {
  const std::string npy = NpyHeader(dtype, shape);
  Member member{.name = name + ".npy",
                .crc = ZipCrc(data, ZipCrc(AsBytes(npy), 0)),
                .nbytes = npy.size() + data.size(),
                .offset = offset_};
  ByteWriter header;
  header.Write<uint32_t>(0x04034B50);
  header.Write<uint16_t>(kZip64Version);
  header.Write<uint16_t>(kUtf8Names);
  header.Write<uint16_t>(0);  // stored
  header.Write<uint16_t>(0);  // time
  header.Write<uint16_t>(kDate1980);
  header.Write<uint32_t>(member.crc);
  header.Write<uint32_t>(kIn64BitField);
  header.Write<uint32_t>(kIn64BitField);
  header.Write<uint16_t>(static_cast<uint16_t>(member.name.size()));
  header.Write<uint16_t>(20);
  header.WriteText(member.name);
  header.Write<uint16_t>(1);  // zip64 field: size, compressed size
  header.Write<uint16_t>(16);
  header.Write<uint64_t>(member.nbytes);
  header.Write<uint64_t>(member.nbytes);
  WT_RETURN_IF_ERROR(Append(header.span()));
  WT_RETURN_IF_ERROR(Append(AsBytes(npy)));
  WT_RETURN_IF_ERROR(Append(data));
  members_.push_back(std::move(member));
  return {};
}

Status NpzWriter::Finish() {
  const uint64_t directory_offset = offset_;
  ByteWriter out;
  for (const Member& member : members_) {
    out.Write<uint32_t>(0x02014B50);
    out.Write<uint16_t>(kZip64Version);
    out.Write<uint16_t>(kZip64Version);
    out.Write<uint16_t>(kUtf8Names);
    out.Write<uint16_t>(0);
    out.Write<uint16_t>(0);
    out.Write<uint16_t>(kDate1980);
    out.Write<uint32_t>(member.crc);
    out.Write<uint32_t>(kIn64BitField);
    out.Write<uint32_t>(kIn64BitField);
    out.Write<uint16_t>(static_cast<uint16_t>(member.name.size()));
    out.Write<uint16_t>(28);  // extra field
    out.Write<uint16_t>(0);   // comment
    out.Write<uint16_t>(0);   // disk
    out.Write<uint16_t>(0);   // internal attributes
    out.Write<uint32_t>(0);   // external attributes
    out.Write<uint32_t>(kIn64BitField);
    out.WriteText(member.name);
    out.Write<uint16_t>(1);
    out.Write<uint16_t>(24);
    out.Write<uint64_t>(member.nbytes);
    out.Write<uint64_t>(member.nbytes);
    out.Write<uint64_t>(member.offset);
  }
  if (members_.empty()) {
    // NumPy takes an empty archive for one only when it begins with this record.
    out.Write<uint32_t>(0x06054B50);
    out.WriteSpan(std::array<uint8_t, 18>{});
    return Close(out);
  }
  const uint64_t directory_bytes = out.size();
  const uint64_t end_offset = directory_offset + directory_bytes;
  out.Write<uint32_t>(0x06064B50);  // zip64 end of central directory
  out.Write<uint64_t>(44);
  out.Write<uint16_t>(kZip64Version);
  out.Write<uint16_t>(kZip64Version);
  out.Write<uint32_t>(0);
  out.Write<uint32_t>(0);
  out.Write<uint64_t>(members_.size());
  out.Write<uint64_t>(members_.size());
  out.Write<uint64_t>(directory_bytes);
  out.Write<uint64_t>(directory_offset);
  out.Write<uint32_t>(0x07064B50);  // locator
  out.Write<uint32_t>(0);
  out.Write<uint64_t>(end_offset);
  out.Write<uint32_t>(1);
  out.Write<uint32_t>(0x06054B50);  // end of central directory: everything is in the zip64 record
  out.Write<uint16_t>(0);
  out.Write<uint16_t>(0);
  out.Write<uint16_t>(0xFFFF);
  out.Write<uint16_t>(0xFFFF);
  out.Write<uint32_t>(kIn64BitField);
  out.Write<uint32_t>(kIn64BitField);
  out.Write<uint16_t>(0);
  return Close(out);
}

Status NpzWriter::Close(const ByteWriter& out) {
  WT_RETURN_IF_ERROR(Append(out.span()));
  file_.Close();
  return RenameFile(path_ + ".tmp", path_);
}

}  // namespace wheeltapper::cli
