#include "wheeltapper/tensor/dtype.h"

#include <gtest/gtest.h>

namespace wheeltapper::tensor {
namespace {

TEST(DTypeTest, EveryNameLeadsBackToItsDType) {
  for (int raw = 0; raw < kDTypeCount; ++raw) {
    const auto dtype = static_cast<DType>(raw);
    EXPECT_EQ(DTypeFromName(DTypeName(dtype)), dtype);
    EXPECT_FALSE(DTypeFrameworkName(dtype).empty());
  }
  EXPECT_EQ(DTypeFromName("F31"), std::nullopt);
  EXPECT_FALSE(IsValidDType(kDTypeCount));
}

TEST(DTypeTest, SizesAreThoseOfTheFormats) {
  EXPECT_EQ(ItemSize(DType::kBool), 1U);
  EXPECT_EQ(ItemSize(DType::kBF16), 2U);
  EXPECT_EQ(ItemSize(DType::kC64), 8U);
  EXPECT_EQ(ItemSize(DType::kC128), 16U);
  EXPECT_EQ(ItemSize(DType::kF8E4M3), 1U);
}

}  // namespace
}  // namespace wheeltapper::tensor
