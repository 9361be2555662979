// Parquet's value encodings, to and from bytes. Decoders check every length against the input and
// the expected count; a mismatch is DataLoss. Source: the Apache Parquet specification,
// Encodings.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::format::parquet {

// Bits needed for values 0 … max, at least 1 (readers disagree about width 0).
int BitWidthFor(uint32_t max);

// RLE / bit-packed hybrid without the length in front (dictionary codes, levels).
void EncodeHybrid(std::span<const uint32_t> values, int bit_width, std::vector<uint8_t>* out);
// Reads exactly out.size() values; values keep to `bit_width` bits. Bytes after the last needed run
// are DataLoss.
Status DecodeHybrid(ByteSpan bytes, int bit_width, std::span<uint32_t> out);

// DELTA_BINARY_PACKED with blocks of 128 values in 4 miniblocks. T: int32_t or int64_t; differences
// wrap in T.
template <typename T>
void EncodeDelta(std::span<const T> values, std::vector<uint8_t>* out);
template <typename T>
Status DecodeDelta(ByteSpan bytes, std::span<T> out);

// BYTE_STREAM_SPLIT: byte k of every value lies in plane k; planes follow each other.
void EncodeByteStreamSplit(std::span<const double> values, std::vector<uint8_t>* out);
Status DecodeByteStreamSplit(ByteSpan bytes, std::span<double> out);

}  // namespace wheeltapper::format::parquet
