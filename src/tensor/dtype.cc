#include "wheeltapper/tensor/dtype.h"

#include <array>

namespace wheeltapper::tensor {
namespace {

struct DTypeRow {
  DType dtype;
  uint8_t item_size;
  std::string_view name;
  std::string_view framework_name;
};

constexpr std::array<DTypeRow, kDTypeCount> kRows = {{
    {DType::kBool, 1, "BOOL", "bool"},
    {DType::kU8, 1, "U8", "uint8"},
    {DType::kI8, 1, "I8", "int8"},
    {DType::kU16, 2, "U16", "uint16"},
    {DType::kI16, 2, "I16", "int16"},
    {DType::kU32, 4, "U32", "uint32"},
    {DType::kI32, 4, "I32", "int32"},
    {DType::kU64, 8, "U64", "uint64"},
    {DType::kI64, 8, "I64", "int64"},
    {DType::kF16, 2, "F16", "float16"},
    {DType::kBF16, 2, "BF16", "bfloat16"},
    {DType::kF32, 4, "F32", "float32"},
    {DType::kF64, 8, "F64", "float64"},
    {DType::kC64, 8, "C64", "complex64"},
    {DType::kC128, 16, "C128", "complex128"},
    {DType::kF8E4M3, 1, "F8_E4M3", "float8_e4m3fn"},
    {DType::kF8E5M2, 1, "F8_E5M2", "float8_e5m2"},
}};

constexpr bool RowsAreInEnumOrder() {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (static_cast<size_t>(kRows[i].dtype) != i) {
      return false;
    }
  }
  return true;
}
static_assert(RowsAreInEnumOrder());

constexpr const DTypeRow& RowOf(DType dtype) {
  const auto raw = static_cast<uint8_t>(dtype);
  return kRows[IsValidDType(raw) ? raw : static_cast<uint8_t>(DType::kU8)];
}

}  // namespace

size_t ItemSize(DType dtype) { return RowOf(dtype).item_size; }

std::string_view DTypeName(DType dtype) { return RowOf(dtype).name; }

std::string_view DTypeFrameworkName(DType dtype) { return RowOf(dtype).framework_name; }

std::optional<DType> DTypeFromName(std::string_view safetensors_name) {
  for (const DTypeRow& row : kRows) {
    if (row.name == safetensors_name) {
      return row.dtype;
    }
  }
  return std::nullopt;
}

}  // namespace wheeltapper::tensor
