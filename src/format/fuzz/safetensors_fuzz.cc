// Feeds bytes to the safetensors parser. What it accepts must have entries inside the file and
// survive being rebuilt.
#include <cstddef>
#include <cstdint>
#include <string>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/format/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace format = wheeltapper::format;
  const wheeltapper::ByteSpan file(data, size);
  const auto index = format::ParseSafetensors(file);
  if (!index.ok()) {
    return 0;
  }
  for (const format::SafetensorsEntry& entry : index->entries) {
    if (entry.begin > entry.end || entry.end > size) {
      __builtin_trap();
    }
  }
  // Rebuilt behind a reserve of its own, with a page of space for every byte of the old header.
  const uint64_t data_begin = sizeof(uint64_t) + wheeltapper::LoadUnaligned<uint64_t>(data);
  const uint64_t reserve = wheeltapper::AlignUp(size * 64 + 4096, 4096);
  auto entries = index->entries;
  for (format::SafetensorsEntry& entry : entries) {
    entry.begin += reserve - data_begin;
    entry.end += reserve - data_begin;
  }
  const uint64_t file_bytes = reserve + size - data_begin;
  const auto header = format::BuildSafetensorsHeader(entries, index->metadata, reserve, file_bytes);
  if (!header.ok()) {
    // JSON has checked that names are UTF-8, and nothing else can stand in the way.
    __builtin_trap();
  }
  std::string rebuilt = *header;
  rebuilt.resize(file_bytes);
  const auto again = format::ParseSafetensors(wheeltapper::AsBytes(rebuilt));
  if (!again.ok() || again->entries.size() != index->entries.size() ||
      again->metadata != index->metadata) {
    __builtin_trap();
  }
  return 0;
}
