// What the table knows of a tensor's shape, in and beyond its first cache line.
#include "tensor_table.h"

#include <vector>

#include <gtest/gtest.h>

namespace wheeltapper::capture {
namespace {

tensor::TensorView ViewOf(const std::vector<int64_t>& shape, tensor::DType dtype) {
  return {nullptr, dtype, static_cast<int32_t>(shape.size()), shape.data(), nullptr};
}

TableEntry EntryOf(const std::vector<int64_t>& shape) {
  TableEntry entry;
  entry.set_shape(shape);
  return entry;
}

TEST(TableEntryTest, FitsTheShapeItHasAndNoOther) {
  std::vector<int64_t> shape;
  for (int64_t ndim = 0; ndim <= 6; ++ndim) {
    const TableEntry entry = EntryOf(shape);
    EXPECT_TRUE(entry.Fits(ViewOf(shape, tensor::DType::kF32))) << ndim;
    EXPECT_FALSE(entry.Fits(ViewOf(shape, tensor::DType::kF16))) << ndim;
    for (size_t i = 0; i < shape.size(); ++i) {
      std::vector<int64_t> other = shape;
      ++other[i];
      EXPECT_FALSE(entry.Fits(ViewOf(other, tensor::DType::kF32))) << ndim << ", extent " << i;
    }
    std::vector<int64_t> longer = shape;
    longer.push_back(1);
    EXPECT_FALSE(entry.Fits(ViewOf(longer, tensor::DType::kF32))) << ndim;
    EXPECT_FALSE(EntryOf(longer).Fits(ViewOf(shape, tensor::DType::kF32))) << ndim;
    shape.push_back(ndim + 2);
  }
}

TEST(TableEntryTest, FollowsAShapeThatGrowsAndShrinks) {
  TableEntry entry = EntryOf({2, 3, 4, 5});
  entry.set_shape(std::vector<int64_t>{7});
  EXPECT_TRUE(entry.Fits(ViewOf({7}, tensor::DType::kF32)));
  EXPECT_EQ(entry.nbytes(), 28U);
  entry.set_shape(std::vector<int64_t>{2, 3, 4, 5});
  EXPECT_TRUE(entry.Fits(ViewOf({2, 3, 4, 5}, tensor::DType::kF32)));
  EXPECT_FALSE(entry.Fits(ViewOf({7}, tensor::DType::kF32)));
  EXPECT_EQ(entry.nbytes(), 480U);
}

}  // namespace
}  // namespace wheeltapper::capture
