// The Thrift compact protocol, as far as Parquet's metadata needs it: structs, lists, integers,
// booleans, binary. Source: the Apache Thrift compact protocol specification.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "wheeltapper/core/bytes.h"

namespace wheeltapper::format::parquet {

enum class CompactType : uint8_t {
  kStop = 0,
  kTrue = 1,
  kFalse = 2,
  kI8 = 3,
  kI16 = 4,
  kI32 = 5,
  kI64 = 6,
  kDouble = 7,
  kBinary = 8,
  kList = 9,
  kSet = 10,
  kMap = 11,
  kStruct = 12,
};

constexpr uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
constexpr int64_t UnZigZag(uint64_t value) {
  return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1));
}
void AppendVarint(uint64_t value, std::vector<uint8_t>* out);
// Marks the reader as failed when the varint is longer than 10 bytes.
uint64_t ReadVarint(ByteReader* reader);

// Appends one struct, fields in rising id order. BeginStruct/EndStruct nest.
class CompactWriter {
 public:
  explicit CompactWriter(std::vector<uint8_t>* out) : out_(out) {}

  void Int(int16_t id, CompactType type, int64_t value);
  void I32(int16_t id, int64_t value) { Int(id, CompactType::kI32, value); }
  void I64(int16_t id, int64_t value) { Int(id, CompactType::kI64, value); }
  void Bool(int16_t id, bool value);
  void Binary(int16_t id, std::string_view value);
  void BeginStruct(int16_t id);
  void EndStruct();
  void BeginList(int16_t id, CompactType element, size_t size);
  // Elements of the list begun last.
  void ElementInt(int64_t value) { AppendVarint(ZigZag(value), out_); }
  void ElementBool(bool value) { out_->push_back(value ? 1 : 2); }
  void ElementBinary(std::string_view value);
  void BeginElement() { last_ids_.push_back(0); }
  // Ends the outermost struct.
  void Finish() { out_->push_back(0); }

 private:
  void Header(int16_t id, CompactType type);

  std::vector<uint8_t>* out_;
  std::vector<int16_t> last_ids_ = {0};
};

// A field's head; start each struct with a fresh one.
struct CompactField {
  int16_t id = 0;
  CompactType type = CompactType::kStop;
};
struct CompactList {
  CompactType element = CompactType::kStop;
  uint64_t size = 0;
};

// Reads what CompactWriter writes and skips every other valid field. After a failure ok() is false,
// Next() says false and lists are empty. Sizes are checked against the bytes left, so a loop over a
// list ends with the input.
class CompactReader {
 public:
  explicit CompactReader(ByteSpan bytes) : reader_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_ && reader_.ok(); }
  [[nodiscard]] size_t offset() const { return reader_.offset(); }
  // Moves to the next field of the struct; false at its end.
  bool Next(CompactField* field);
  // The value of an integer field; fails when the field is none.
  int64_t Int(const CompactField& field);
  bool Bool(const CompactField& field);
  std::string_view Binary(const CompactField& field);
  // True (and nothing read) when the field is a struct, whose fields follow.
  bool Struct(const CompactField& field);
  // Fails, with size 0, when the field is no list of `element`.
  CompactList List(const CompactField& field, CompactType element);
  int64_t ElementInt();
  std::string_view ElementBinary();
  void Skip(const CompactField& field) { SkipValue(field.type, 0); }

 private:
  void Fail() { ok_ = false; }
  void SkipValue(CompactType type, int depth);
  void SkipElements(CompactType type, int depth);
  void SkipMap(int depth);
  void SkipStruct(int depth);
  CompactList ReadListHeader();

  ByteReader reader_;
  bool ok_ = true;
};

}  // namespace wheeltapper::format::parquet
