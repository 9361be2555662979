#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "wheeltapper/format/safetensors.h"

#include "safetensors/safetensors_format.h"

namespace wheeltapper::format {
namespace {

using Json = nlohmann::json;

// Takes the header's events in place of a document tree: memory stays a small multiple of the
// header, keys that occur twice are seen, and depth is bounded. Expects
//   {"__metadata__": {text: text, …}, name: {"dtype": text, "shape": [n, …], "data_offsets": [n,
//   n]}, …}
class HeaderHandler final : public Json::json_sax_t {
 public:
  explicit HeaderHandler(SafetensorsIndex* index) : index_(index) {}

  [[nodiscard]] const Status& status() const { return status_; }

  bool null() override { return Fail("null has no place in it"); }
  bool boolean(bool /*value*/) override { return Fail("a boolean has no place in it"); }
  bool number_integer(number_integer_t value) override {
    return value < 0 ? Fail("a number is negative") : number_unsigned(static_cast<uint64_t>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (state_ != State::kList ||
        value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Fail("a number is misplaced or too large");
    }
    numbers_.push_back(static_cast<int64_t>(value));
    return true;
  }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override {
    return Fail("a number is not an integer in range");
  }
  bool string(string_t& value) override {
    if (state_ == State::kMetadata) {
      return index_->metadata.emplace(key_, value).second || Fail("a metadata key occurs twice");
    }
    if (state_ != State::kEntry || key_ != "dtype" || has_dtype_) {
      return Fail("a text is misplaced");
    }
    has_dtype_ = true;
    const auto dtype = tensor::DTypeFromName(value);
    if (!dtype) {
      status_ = UnimplementedError("reading safetensors header: unknown dtype: \"" + value + "\"");
      return false;
    }
    entry_.dtype = *dtype;
    return true;
  }
  bool binary(binary_t& /*value*/) override { return Fail("binary has no place in it"); }
  bool start_object(size_t /*size*/) override {
    if (state_ == State::kStart) {
      state_ = State::kTop;
      return true;
    }
    if (state_ != State::kTop) {
      return Fail("an object is misplaced");
    }
    if (!names_.insert(key_).second) {
      return Fail("a name occurs twice");
    }
    state_ = key_ == safetensors::kMetadataKey ? State::kMetadata : State::kEntry;
    entry_ = {};
    entry_.name = key_;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    return true;
  }
  bool end_object() override {
    if (state_ == State::kEntry) {
      if (!has_dtype_ || !has_shape_ || !has_offsets_) {
        return Fail("a tensor lacks dtype, shape or data_offsets");
      }
      index_->entries.push_back(std::move(entry_));
    }
    state_ = state_ == State::kTop ? State::kDone : State::kTop;
    return true;
  }
  bool key(string_t& value) override {
    key_ = value;
    return true;
  }
  bool start_array(size_t /*size*/) override {
    if (state_ != State::kEntry || (key_ != "shape" && key_ != "data_offsets")) {
      return Fail("a list is misplaced");
    }
    state_ = State::kList;
    numbers_.clear();
    return true;
  }
  bool end_array() override {
    state_ = State::kEntry;
    if (key_ == "shape") {
      entry_.shape = numbers_;
      return !std::exchange(has_shape_, true) || Fail("shape occurs twice");
    }
    if (numbers_.size() != 2 || std::exchange(has_offsets_, true)) {
      return Fail("data_offsets is no pair, or occurs twice");
    }
    entry_.begin = static_cast<uint64_t>(numbers_[0]);
    entry_.end = static_cast<uint64_t>(numbers_[1]);
    return true;
  }
  bool parse_error(size_t /*position*/, const std::string& /*token*/,
                   const Json::exception& /*error*/) override {
    return Fail("it is not JSON");
  }

 private:
  enum class State : uint8_t { kStart, kTop, kMetadata, kEntry, kList, kDone };

  bool Fail(const char* why) {
    if (status_.ok()) {
      status_ = DataLossError(std::string("reading safetensors header: ") + why);
    }
    return false;
  }

  SafetensorsIndex* index_;
  Status status_;
  State state_ = State::kStart;
  std::string key_;
  std::set<std::string> names_;
  SafetensorsEntry entry_;
  std::vector<int64_t> numbers_;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
};

Status Damaged(const char* what) {
  return DataLossError(std::string("reading safetensors file: ") + what);
}

// Sorts the entries by place and checks that they tile the data section; then moves them to file
// offsets.
Status PlaceEntries(uint64_t data_begin, uint64_t file_bytes,
                    std::vector<SafetensorsEntry>* entries) {
  std::sort(entries->begin(), entries->end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
            });
  uint64_t at = 0;
  for (SafetensorsEntry& entry : *entries) {
    const auto nbytes = safetensors::TensorBytes(entry.dtype, entry.shape);
    if (entry.begin != at || entry.end < entry.begin || !nbytes ||
        *nbytes != entry.end - entry.begin) {
      return Damaged("tensors do not follow each other, or one's shape and byte range disagree");
    }
    at = entry.end;
    if (at > file_bytes - data_begin) {
      break;
    }
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  return at == file_bytes - data_begin ? Status()
                                       : Damaged("its length is not the one its header says");
}

}  // namespace

Result<SafetensorsIndex> ParseSafetensors(ByteSpan file) {
  ByteReader reader(file);
  const auto header_bytes = reader.Read<uint64_t>();
  if (!reader.ok() || header_bytes > safetensors::kMaxHeaderBytes ||
      header_bytes > reader.remaining()) {
    return Damaged("its header is cut short or longer than 100 MB");
  }
  const ByteSpan header = reader.ReadSpan(header_bytes);
  if (header.empty() || header[0] != '{') {
    return Damaged("its header is no JSON object");
  }
  SafetensorsIndex index;
  HeaderHandler handler(&index);
  const bool parsed = Json::sax_parse(header.begin(), header.end(), &handler);
  if (!parsed || !handler.status().ok()) {
    return handler.status().ok() ? Damaged("its header is no JSON") : handler.status();
  }
  WT_RETURN_IF_ERROR(PlaceEntries(reader.offset(), file.size(), &index.entries));
  std::erase_if(index.entries, [](const SafetensorsEntry& entry) {
    return entry.name.starts_with(safetensors::kPadPrefix);
  });
  return index;
}

}  // namespace wheeltapper::format
