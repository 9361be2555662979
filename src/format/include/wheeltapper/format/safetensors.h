// Reading and writing safetensors files (Hugging Face's format: u64 header length, JSON header,
// data without holes).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/tensor/dtype.h"

namespace wheeltapper::format {

struct SafetensorsEntry {
  std::string name;
  tensor::DType dtype = tensor::DType::kU8;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // byte range in the file (not in the data section)
  uint64_t end = 0;
};

// Space kept at the head of a blob file for the JSON header, a multiple of 4096; grows with the
// number of tensors.
uint64_t SafetensorsHeaderReserve(uint64_t tensors, uint64_t name_bytes);

// The header bytes (`reserve` of them) of a file whose data starts at `reserve` and ends at
// `file_bytes`: every gap between entries becomes a U8 tensor "__pad__/k", the JSON is padded with
// spaces to fill the reserve. safetensors has no C128: such a tensor becomes F64 with one more
// dimension, of 2. Empty tensors are placed at the start of the data. Names that are not UTF-8 get
// U+FFFD. A metadata key "wheeltapper.crc32c" with the value "00000000" gets the header's checksum.
// InvalidArgument when entries overlap, lie outside the data, disagree with their shape, or
// share or reserve a name; ResourceExhausted when the header does not fit.
Result<std::string> BuildSafetensorsHeader(const std::vector<SafetensorsEntry>& entries,
                                           const std::map<std::string, std::string>& metadata,
                                           uint64_t reserve, uint64_t file_bytes);

struct SafetensorsIndex {
  std::vector<SafetensorsEntry> entries;  // "__pad__/…" left out
  std::map<std::string, std::string> metadata;
};
// Parses and validates the header (offsets contiguous from 0, exact file length, header ≤ 100 MB,
// no name twice). Entries come in file order. Unimplemented for a dtype this project does not know,
// else DataLoss.
Result<SafetensorsIndex> ParseSafetensors(ByteSpan file);

}  // namespace wheeltapper::format
