// Decoded pages of sealed tables, the least recently used given up first.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <unordered_map>

#include "wheeltapper/core/status.h"
#include "wheeltapper/format/parquet.h"

namespace wheeltapper::trial {

// Which block of which column of which table.
struct BlockKey {
  uint64_t table;
  uint32_t column;
  uint32_t block;
  bool operator==(const BlockKey&) const = default;
};

// Not thread-safe. Holds at most `max_bytes` of decoded values, but always the newest block.
class ColumnCache {
 public:
  using Block = std::shared_ptr<const format::ColumnData>;

  explicit ColumnCache(uint64_t max_bytes) : max_bytes_(max_bytes) {}

  // The block, from `load` when it is not there.
  Result<Block> Get(const BlockKey& key, const std::function<Result<format::ColumnData>()>& load);
  [[nodiscard]] uint64_t bytes() const { return bytes_; }

 private:
  struct Entry {
    BlockKey key;
    Block block;
    uint64_t nbytes;
  };
  struct KeyHash {
    size_t operator()(const BlockKey& key) const noexcept;
  };
  uint64_t max_bytes_;
  uint64_t bytes_ = 0;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<BlockKey, std::list<Entry>::iterator, KeyHash> index_;
};

// Bytes of memory that a column's values take.
uint64_t DecodedBytes(const format::ColumnData& data);

}  // namespace wheeltapper::trial
