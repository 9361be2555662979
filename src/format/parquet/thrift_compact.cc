#include "parquet/thrift_compact.h"

namespace wheeltapper::format::parquet {
namespace {

// Deeper than any struct of parquet.thrift; bounds the recursion on hostile input.
constexpr int kMaxDepth = 16;
constexpr int kMaxVarintBytes = 10;

bool IsInt(CompactType type) {
  return type == CompactType::kI8 || type == CompactType::kI16 || type == CompactType::kI32 ||
         type == CompactType::kI64;
}

}  // namespace

void AppendVarint(uint64_t value, std::vector<uint8_t>* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<uint8_t>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<uint8_t>(value));
}

uint64_t ReadVarint(ByteReader* reader) {
  uint64_t value = 0;
  for (int i = 0; i < kMaxVarintBytes; ++i) {
    const auto byte = reader->Read<uint8_t>();
    value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      return value;
    }
  }
  reader->Skip(reader->remaining() + 1);
  return 0;
}

void CompactWriter::Header(int16_t id, CompactType type) {
  const int delta = id - last_ids_.back();
  if (delta > 0 && delta <= 15) {
    out_->push_back(static_cast<uint8_t>((delta << 4) | static_cast<int>(type)));
  } else {
    out_->push_back(static_cast<uint8_t>(type));
    AppendVarint(ZigZag(id), out_);
  }
  last_ids_.back() = id;
}

void CompactWriter::Int(int16_t id, CompactType type, int64_t value) {
  Header(id, type);
  if (type == CompactType::kI8) {
    out_->push_back(static_cast<uint8_t>(value));
  } else {
    AppendVarint(ZigZag(value), out_);
  }
}

void CompactWriter::Bool(int16_t id, bool value) {
  Header(id, value ? CompactType::kTrue : CompactType::kFalse);
}

void CompactWriter::Binary(int16_t id, std::string_view value) {
  Header(id, CompactType::kBinary);
  ElementBinary(value);
}

void CompactWriter::ElementBinary(std::string_view value) {
  AppendVarint(value.size(), out_);
  const ByteSpan bytes = AsBytes(value);
  out_->insert(out_->end(), bytes.begin(), bytes.end());
}

void CompactWriter::BeginStruct(int16_t id) {
  Header(id, CompactType::kStruct);
  last_ids_.push_back(0);
}

void CompactWriter::EndStruct() {
  out_->push_back(0);
  last_ids_.pop_back();
}

void CompactWriter::BeginList(int16_t id, CompactType element, size_t size) {
  Header(id, CompactType::kList);
  if (size < 15) {
    out_->push_back(static_cast<uint8_t>((size << 4) | static_cast<size_t>(element)));
  } else {
    out_->push_back(static_cast<uint8_t>(0xf0 | static_cast<int>(element)));
    AppendVarint(size, out_);
  }
}

bool CompactReader::Next(CompactField* field) {
  const auto head = reader_.Read<uint8_t>();
  if (!ok() || head == 0) {
    return false;
  }
  field->type = static_cast<CompactType>(head & 0x0f);
  const int delta = head >> 4;
  const int64_t id = delta != 0 ? field->id + delta : UnZigZag(ReadVarint(&reader_));
  if (id < INT16_MIN || id > INT16_MAX || field->type == CompactType::kStop ||
      field->type > CompactType::kStruct) {
    Fail();
  }
  field->id = static_cast<int16_t>(id);
  return ok();
}

int64_t CompactReader::Int(const CompactField& field) {
  if (!IsInt(field.type)) {
    Fail();
    return 0;
  }
  return field.type == CompactType::kI8 ? reader_.Read<int8_t>() : ElementInt();
}

bool CompactReader::Bool(const CompactField& field) {
  if (field.type != CompactType::kTrue && field.type != CompactType::kFalse) {
    Fail();
  }
  return field.type == CompactType::kTrue;
}

std::string_view CompactReader::Binary(const CompactField& field) {
  if (field.type != CompactType::kBinary) {
    Fail();
    return {};
  }
  return ElementBinary();
}

bool CompactReader::Struct(const CompactField& field) {
  if (field.type != CompactType::kStruct) {
    Fail();
  }
  return ok();
}

CompactList CompactReader::ReadListHeader() {
  const auto head = reader_.Read<uint8_t>();
  CompactList list{static_cast<CompactType>(head & 0x0f), static_cast<uint64_t>(head >> 4)};
  if (list.size == 15) {
    list.size = ReadVarint(&reader_);
  }
  // Every element takes a byte at least.
  if (!ok() || list.size > reader_.remaining()) {
    Fail();
    return {};
  }
  return list;
}

CompactList CompactReader::List(const CompactField& field, CompactType element) {
  if (field.type != CompactType::kList) {
    Fail();
    return {};
  }
  const CompactList list = ReadListHeader();
  if (list.size != 0 && list.element != element) {
    Fail();
    return {};
  }
  return list;
}

int64_t CompactReader::ElementInt() { return UnZigZag(ReadVarint(&reader_)); }

std::string_view CompactReader::ElementBinary() { return reader_.ReadText(ReadVarint(&reader_)); }

void CompactReader::SkipStruct(int depth) {
  CompactField field;
  while (Next(&field)) {
    SkipValue(field.type, depth + 1);
  }
}

void CompactReader::SkipElements(CompactType type, int depth) {
  // A boolean is a byte of its own in a list, but part of the head in a field.
  if (type == CompactType::kTrue || type == CompactType::kFalse) {
    reader_.Skip(1);
  } else {
    SkipValue(type, depth);
  }
}

void CompactReader::SkipMap(int depth) {
  const uint64_t size = ReadVarint(&reader_);
  if (size == 0 || size > reader_.remaining()) {
    ok_ = ok_ && size == 0;
    return;
  }
  const auto types = reader_.Read<uint8_t>();
  for (uint64_t i = 0; i < size && ok(); ++i) {
    SkipElements(static_cast<CompactType>(types >> 4), depth + 1);
    SkipElements(static_cast<CompactType>(types & 0x0f), depth + 1);
  }
}

void CompactReader::SkipValue(CompactType type, int depth) {
  if (depth > kMaxDepth) {
    Fail();
    return;
  }
  switch (type) {
    case CompactType::kTrue:
    case CompactType::kFalse:
      return;
    case CompactType::kI8:
      return reader_.Skip(1);
    case CompactType::kI16:
    case CompactType::kI32:
    case CompactType::kI64:
      (void)ReadVarint(&reader_);
      return;
    case CompactType::kDouble:
      return reader_.Skip(8);
    case CompactType::kBinary:
      (void)ElementBinary();
      return;
    case CompactType::kMap:
      return SkipMap(depth);
    case CompactType::kStruct:
      return SkipStruct(depth);
    case CompactType::kList:
    case CompactType::kSet: {
      const CompactList list = ReadListHeader();
      for (uint64_t i = 0; i < list.size && ok(); ++i) {
        SkipElements(list.element, depth + 1);
      }
      return;
    }
    case CompactType::kStop:
      break;
  }
  Fail();
}

}  // namespace wheeltapper::format::parquet
