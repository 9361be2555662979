// Little-endian reads and writes with bounds. Every length that comes from disk or network goes
// through a ByteReader.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace wheeltapper {

static_assert(std::endian::native == std::endian::little,
              "the formats are little-endian and read without swapping");

using ByteSpan = std::span<const uint8_t>;

constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

inline ByteSpan AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view AsText(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <typename T>
T LoadUnaligned(const void* from) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled by the next line
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Walks a span; once a read goes past the end, ok() is false and every further read yields zero or
// empty.
class ByteReader {
 public:
  explicit ByteReader(ByteSpan bytes) : bytes_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] size_t offset() const { return offset_; }
  [[nodiscard]] size_t remaining() const { return bytes_.size() - offset_; }

  template <typename T>
  T Read() {
    if (!Need(sizeof(T))) {
      return T{};
    }
    T value = LoadUnaligned<T>(bytes_.data() + offset_);
    offset_ += sizeof(T);
    return value;
  }
  ByteSpan ReadSpan(size_t nbytes) {
    if (!Need(nbytes)) {
      return {};
    }
    ByteSpan span = bytes_.subspan(offset_, nbytes);
    offset_ += nbytes;
    return span;
  }
  std::string_view ReadText(size_t nbytes) { return AsText(ReadSpan(nbytes)); }
  void Skip(size_t nbytes) { (void)ReadSpan(nbytes); }

 private:
  bool Need(size_t nbytes) {
    if (!ok_ || nbytes > remaining()) {
      ok_ = false;
      offset_ = bytes_.size();
    }
    return ok_;
  }
  ByteSpan bytes_;
  size_t offset_ = 0;
  bool ok_ = true;
};

// Appends to a growing buffer. Not for the hot path.
class ByteWriter {
 public:
  template <typename T>
  void Write(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto* raw = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof(T));
  }
  void WriteSpan(ByteSpan span) { bytes_.insert(bytes_.end(), span.begin(), span.end()); }
  void WriteText(std::string_view text) { WriteSpan(AsBytes(text)); }
  void PadTo(size_t alignment) { bytes_.resize(AlignUp(bytes_.size(), alignment)); }
  [[nodiscard]] size_t size() const { return bytes_.size(); }
  [[nodiscard]] ByteSpan span() const { return bytes_; }
  std::vector<uint8_t>& bytes() { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace wheeltapper
