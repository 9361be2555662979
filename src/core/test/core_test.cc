#include <gtest/gtest.h>

#include "wheeltapper/core/crc32c.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper {
namespace {

TEST(Crc32cTest, MatchesThePublishedCheckValue) {
  EXPECT_EQ(Crc32c(AsBytes("123456789")), 0xE3069283U);
  EXPECT_EQ(Crc32c(AsBytes("56789"), Crc32c(AsBytes("1234"))), 0xE3069283U);
}

TEST(StatusTest, ContextIsPutInFrontAndOkStaysOk) {
  EXPECT_EQ(DataLossError("bad crc").WithContext("reading x").ToString(),
            "DATA_LOSS: reading x: bad crc");
  EXPECT_TRUE(Status().WithContext("reading x").ok());
}

}  // namespace
}  // namespace wheeltapper
