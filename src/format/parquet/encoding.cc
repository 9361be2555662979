#include "parquet/encoding.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <type_traits>

#include "parquet/thrift_compact.h"

namespace wheeltapper::format::parquet {
namespace {

constexpr size_t kGroup = 8;  // a bit-packed run holds whole groups of 8
constexpr size_t kBlock = 128;
constexpr size_t kMiniblocks = 4;
constexpr size_t kMiniblock = kBlock / kMiniblocks;

Status Damaged(const char* what) { return DataLossError(std::string("decoding page: ") + what); }

// Values keep to `width` bits, 0 … 64; appends exactly ⌈n·width/8⌉ bytes.
template <typename T>
void PackBits(std::span<const T> values, int width, std::vector<uint8_t>* out) {
  if (width == 0) {
    return;
  }
  const size_t nbytes = (values.size() * static_cast<size_t>(width) + 7) / 8;
  const size_t start = out->size();
  out->resize(start + nbytes + 8);
  uint8_t* to = out->data() + start;
  uint64_t word = 0;
  int used = 0;
  for (const T value : values) {
    const uint64_t wide = value;
    word |= wide << used;
    used += width;
    if (used >= 64) {
      std::memcpy(to, &word, 8);
      to += 8;
      used -= 64;
      word = used == 0 ? 0 : wide >> (width - used);
    }
  }
  std::memcpy(to, &word, 8);
  out->resize(start + nbytes);
}

// `bytes` holds ⌈out.size()·width/8⌉ bytes at least; width 1 … 64.
template <typename T>
void UnpackBits(ByteSpan bytes, int width, std::span<T> out) {
  const uint64_t mask = ~uint64_t{0} >> (64 - width);
  uint64_t bit = 0;
  for (T& value : out) {
    const size_t at = bit >> 3;
    const int shift = static_cast<int>(bit & 7);
    std::array<uint8_t, 9> window{};
    const uint8_t* from = bytes.data() + at;
    if (at + window.size() > bytes.size()) {
      std::copy(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end(), window.begin());
      from = window.data();
    }
    uint64_t word = LoadUnaligned<uint64_t>(from) >> shift;
    if (shift + width > 64) {
      word |= static_cast<uint64_t>(from[8]) << (64 - shift);
    }
    value = static_cast<T>(word & mask);
    bit += static_cast<uint64_t>(width);
  }
}

size_t RunLength(std::span<const uint32_t> values) {
  size_t n = 1;
  while (n < values.size() && values[n] == values[0]) {
    ++n;
  }
  return n;
}

void EmitLiterals(std::span<const uint32_t> values, int bit_width, std::vector<uint8_t>* out) {
  if (values.empty()) {
    return;
  }
  const size_t groups = (values.size() + kGroup - 1) / kGroup;
  AppendVarint((groups << 1) | 1, out);
  const size_t end = out->size() + groups * static_cast<size_t>(bit_width);
  PackBits(values, bit_width, out);
  out->resize(end);
}

void EmitRun(uint32_t value, size_t length, int bit_width, std::vector<uint8_t>* out) {
  AppendVarint(length << 1, out);
  for (int bit = 0; bit < bit_width; bit += 8) {
    out->push_back(static_cast<uint8_t>(value >> bit));
  }
}

// Transposes an 8×8 matrix of bytes held in 8 words (row i = words[i], column 0 = lowest byte).
void Transpose8x8(std::array<uint64_t, 8>* words) {
  std::array<uint64_t, 8>& w = *words;
  constexpr uint64_t kBytes = 0x00ff00ff00ff00ffULL;
  constexpr uint64_t kPairs = 0x0000ffff0000ffffULL;
  for (size_t i = 0; i < 8; i += 2) {
    const uint64_t swap = ((w[i] >> 8) ^ w[i + 1]) & kBytes;
    w[i] ^= swap << 8;
    w[i + 1] ^= swap;
  }
  for (const size_t i : std::array<size_t, 4>{0, 1, 4, 5}) {
    const uint64_t swap = ((w[i] >> 16) ^ w[i + 2]) & kPairs;
    w[i] ^= swap << 16;
    w[i + 2] ^= swap;
  }
  for (size_t i = 0; i < 4; ++i) {
    const uint64_t swap = ((w[i] >> 32) ^ w[i + 4]) & 0xffffffffULL;
    w[i] ^= swap << 32;
    w[i + 4] ^= swap;
  }
}

// One block: its smallest difference, four widths, four miniblocks (those that hold no value are
// left out).
template <typename U>
void EncodeDeltaBlock(std::span<const U> deltas, U min_delta, std::vector<uint8_t>* out) {
  std::array<U, kBlock> rest{};
  for (size_t i = 0; i < deltas.size(); ++i) {
    rest[i] = deltas[i] - min_delta;
  }
  AppendVarint(ZigZag(static_cast<std::make_signed_t<U>>(min_delta)), out);
  const size_t used = (deltas.size() + kMiniblock - 1) / kMiniblock;
  std::array<int, kMiniblocks> widths{};
  for (size_t m = 0; m < kMiniblocks; ++m) {
    U all = 0;
    for (size_t i = 0; i < kMiniblock; ++i) {
      all |= rest[m * kMiniblock + i];
    }
    widths[m] = static_cast<int>(std::bit_width(all));
    out->push_back(static_cast<uint8_t>(widths[m]));
  }
  for (size_t m = 0; m < used; ++m) {
    PackBits(std::span<const U>(rest).subspan(m * kMiniblock, kMiniblock), widths[m], out);
  }
}

// Fills `out` (at most a block) from `reader`, continuing from `last`.
template <typename T>
Status DecodeDeltaBlock(ByteReader* reader, T last, std::span<T> out) {
  using U = std::make_unsigned_t<T>;
  const auto min_delta = static_cast<U>(UnZigZag(ReadVarint(reader)));
  const ByteSpan widths = reader->ReadSpan(kMiniblocks);
  if (!reader->ok()) {
    return Damaged("delta block is cut short");
  }
  auto value = static_cast<U>(last);
  for (size_t done = 0; done < out.size(); done += kMiniblock) {
    const int width = widths[done / kMiniblock];
    if (width > std::numeric_limits<U>::digits) {
      return Damaged("delta width is too large");
    }
    std::array<U, kMiniblock> rest{};
    const ByteSpan packed = reader->ReadSpan(static_cast<size_t>(width) * kMiniblock / 8);
    if (!reader->ok()) {
      return Damaged("delta miniblock is cut short");
    }
    if (width != 0) {
      UnpackBits(packed, width, std::span<U>(rest));
    }
    const size_t n = std::min(kMiniblock, out.size() - done);
    for (size_t i = 0; i < n; ++i) {
      value += min_delta + rest[i];
      out[done + i] = static_cast<T>(value);
    }
  }
  return {};
}

}  // namespace

int BitWidthFor(uint32_t max) { return std::max(1, static_cast<int>(std::bit_width(max))); }

void EncodeHybrid(std::span<const uint32_t> values, int bit_width, std::vector<uint8_t>* out) {
  size_t pending = 0;  // start of the values not yet written
  for (size_t at = 0; at < values.size();) {
    const size_t run = RunLength(values.subspan(at));
    const size_t fill = (kGroup - (at - pending) % kGroup) % kGroup;
    if (run >= kGroup + fill) {
      EmitLiterals(values.subspan(pending, at + fill - pending), bit_width, out);
      EmitRun(values[at], run - fill, bit_width, out);
      pending = at + run;
    }
    at += run;
  }
  EmitLiterals(values.subspan(pending), bit_width, out);
}

namespace {

// Little-endian, in as many bytes as `bit_width` bits take.
uint32_t ReadRepeatedValue(size_t bit_width, ByteReader* reader) {
  uint32_t value = 0;
  for (size_t shift = 0; shift < bit_width; shift += 8) {
    value |= static_cast<uint32_t>(reader->Read<uint8_t>()) << shift;
  }
  return value;
}

// A run of `groups` bit-packed groups into the front of `rest`: how many values, 0 when the page
// does not hold them.
size_t DecodeLiterals(uint64_t groups, int bit_width, ByteReader* reader,
                      std::span<uint32_t> rest) {
  const auto width = static_cast<size_t>(bit_width);
  if (groups > reader->remaining() / width) {
    return 0;
  }
  // The last group is filled up with values that nobody asked for.
  const size_t n = std::min<size_t>(groups * kGroup, rest.size());
  UnpackBits(reader->ReadSpan(groups * width), bit_width, rest.first(n));
  return n;
}

// One value `length` times into the front of `rest`: how many values, 0 when they are more than
// `rest` holds or the value is wider than it may be.
size_t DecodeRun(uint64_t length, int bit_width, ByteReader* reader, std::span<uint32_t> rest) {
  const uint32_t value = ReadRepeatedValue(static_cast<size_t>(bit_width), reader);
  if (length > rest.size() || (bit_width < 32 && (value >> bit_width) != 0)) {
    return 0;
  }
  std::fill_n(rest.begin(), length, value);
  return length;
}

}  // namespace

Status DecodeHybrid(ByteSpan bytes, int bit_width, std::span<uint32_t> out) {
  if (bit_width < 1 || bit_width > 32) {
    return Damaged("bit width is not in 1 … 32");
  }
  ByteReader reader(bytes);
  std::span<uint32_t> rest = out;
  while (!rest.empty()) {
    const uint64_t head = ReadVarint(&reader);
    const uint64_t length = head >> 1;
    if (!reader.ok() || length == 0) {
      return Damaged("run is cut short");
    }
    const bool literals = (head & 1) != 0;
    const size_t n = literals ? DecodeLiterals(length, bit_width, &reader, rest)
                              : DecodeRun(length, bit_width, &reader, rest);
    if (n == 0) {
      return Damaged(literals ? "bit-packed run is longer than the page"
                              : "run has a wrong length or value");
    }
    rest = rest.subspan(n);
  }
  return reader.ok() && reader.remaining() == 0 ? Status() : Damaged("runs do not fill the page");
}

template <typename T>
void EncodeDelta(std::span<const T> values, std::vector<uint8_t>* out) {
  using U = std::make_unsigned_t<T>;
  AppendVarint(kBlock, out);
  AppendVarint(kMiniblocks, out);
  AppendVarint(values.size(), out);
  AppendVarint(ZigZag(values.empty() ? 0 : values[0]), out);
  std::array<U, kBlock> deltas{};
  for (size_t at = 1; at < values.size(); at += kBlock) {
    const size_t n = std::min(kBlock, values.size() - at);
    T min_delta = std::numeric_limits<T>::max();
    for (size_t i = 0; i < n; ++i) {
      deltas[i] = static_cast<U>(values[at + i]) - static_cast<U>(values[at + i - 1]);
      min_delta = std::min(min_delta, static_cast<T>(deltas[i]));
    }
    EncodeDeltaBlock<U>(std::span<const U>(deltas).first(n), static_cast<U>(min_delta), out);
  }
}

template <typename T>
Status DecodeDelta(ByteSpan bytes, std::span<T> out) {
  ByteReader reader(bytes);
  const uint64_t block = ReadVarint(&reader);
  const uint64_t miniblocks = ReadVarint(&reader);
  const uint64_t count = ReadVarint(&reader);
  const auto first = static_cast<T>(UnZigZag(ReadVarint(&reader)));
  if (!reader.ok() || block != kBlock || miniblocks != kMiniblocks || count != out.size()) {
    return Damaged("delta header is wrong");
  }
  if (out.empty()) {
    return reader.remaining() == 0 ? Status() : Damaged("bytes follow the values");
  }
  out[0] = first;
  for (size_t at = 1; at < out.size(); at += kBlock) {
    const size_t n = std::min(kBlock, out.size() - at);
    WT_RETURN_IF_ERROR(DecodeDeltaBlock<T>(&reader, out[at - 1], out.subspan(at, n)));
  }
  return reader.remaining() == 0 ? Status() : Damaged("bytes follow the values");
}

template void EncodeDelta<int32_t>(std::span<const int32_t>, std::vector<uint8_t>*);
template void EncodeDelta<int64_t>(std::span<const int64_t>, std::vector<uint8_t>*);
template Status DecodeDelta<int32_t>(ByteSpan, std::span<int32_t>);
template Status DecodeDelta<int64_t>(ByteSpan, std::span<int64_t>);

void EncodeByteStreamSplit(std::span<const double> values, std::vector<uint8_t>* out) {
  const size_t n = values.size();
  const size_t start = out->size();
  out->resize(start + n * 8);
  uint8_t* to = out->data() + start;
  size_t i = 0;
  std::array<uint64_t, 8> words{};
  for (; i + 8 <= n; i += 8) {
    std::memcpy(words.data(), values.data() + i, 64);
    Transpose8x8(&words);
    for (size_t k = 0; k < 8; ++k) {
      std::memcpy(to + k * n + i, &words[k], 8);
    }
  }
  for (; i < n; ++i) {
    const auto word = std::bit_cast<uint64_t>(values[i]);
    for (size_t k = 0; k < 8; ++k) {
      to[k * n + i] = static_cast<uint8_t>(word >> (8 * k));
    }
  }
}

Status DecodeByteStreamSplit(ByteSpan bytes, std::span<double> out) {
  const size_t n = out.size();
  if (bytes.size() / 8 != n || bytes.size() % 8 != 0) {
    return Damaged("byte planes have a wrong length");
  }
  const uint8_t* from = bytes.data();
  size_t i = 0;
  std::array<uint64_t, 8> words{};
  for (; i + 8 <= n; i += 8) {
    for (size_t k = 0; k < 8; ++k) {
      words[k] = LoadUnaligned<uint64_t>(from + k * n + i);
    }
    Transpose8x8(&words);
    std::memcpy(out.data() + i, words.data(), 64);
  }
  for (; i < n; ++i) {
    uint64_t word = 0;
    for (size_t k = 0; k < 8; ++k) {
      word |= static_cast<uint64_t>(from[k * n + i]) << (8 * k);
    }
    out[i] = std::bit_cast<double>(word);
  }
  return {};
}

}  // namespace wheeltapper::format::parquet
