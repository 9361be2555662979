#include "column_cache.h"

#include <utility>
#include <variant>

namespace wheeltapper::trial {
namespace {

template <typename T>
uint64_t BytesOf(const std::vector<T>& values) {
  return values.size() * sizeof(T);
}

}  // namespace

uint64_t DecodedBytes(const format::ColumnData& data) {
  struct Counter {
    uint64_t operator()(const format::StringColumn& column) const {
      uint64_t nbytes = BytesOf(column.codes) + BytesOf(column.dictionary);
      for (const std::string& text : column.dictionary) {
        nbytes += text.capacity();
      }
      return nbytes;
    }
    uint64_t operator()(const format::DoubleColumn& column) const {
      return BytesOf(column.values) + BytesOf(column.present);
    }
    uint64_t operator()(const format::Int64ListColumn& column) const {
      return BytesOf(column.offsets) + BytesOf(column.values);
    }
    uint64_t operator()(const format::Int32Column& column) const { return BytesOf(column.values); }
    uint64_t operator()(const format::Int64Column& column) const { return BytesOf(column.values); }
    uint64_t operator()(const format::TimestampColumn& column) const {
      return BytesOf(column.values);
    }
  };
  return std::visit(Counter(), data);
}

size_t ColumnCache::KeyHash::operator()(const BlockKey& key) const noexcept {
  constexpr uint64_t kMix = 0x9E3779B97F4A7C15ULL;  // 2^64 / golden ratio: spreads small integers
  const uint64_t low = (uint64_t{key.column} << 32) | key.block;
  return (key.table * kMix ^ low) * kMix;
}

Result<ColumnCache::Block> ColumnCache::Get(
    const BlockKey& key, const std::function<Result<format::ColumnData>()>& load) {
  const auto at = index_.find(key);
  if (at != index_.end()) {
    entries_.splice(entries_.begin(), entries_, at->second);
    return entries_.front().block;
  }
  WT_ASSIGN_OR_RETURN(format::ColumnData data, load());
  const uint64_t nbytes = DecodedBytes(data);
  entries_.push_front({key, std::make_shared<const format::ColumnData>(std::move(data)), nbytes});
  index_[key] = entries_.begin();
  bytes_ += nbytes;
  while (bytes_ > max_bytes_ && entries_.size() > 1) {
    bytes_ -= entries_.back().nbytes;
    index_.erase(entries_.back().key);
    entries_.pop_back();
  }
  return entries_.front().block;
}

}  // namespace wheeltapper::trial
