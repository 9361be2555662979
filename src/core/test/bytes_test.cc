#include "wheeltapper/core/bytes.h"

#include <gtest/gtest.h>

#include "wheeltapper/core/crc32c.h"

namespace wheeltapper {
namespace {

TEST(ByteReaderTest, ReadsBackWhatTheWriterWroteLittleEndianAndUnaligned) {
  ByteWriter writer;
  writer.Write(uint8_t{1});
  writer.Write(uint32_t{0x04030201});
  writer.Write(2.5);
  writer.WriteText("wheel");
  EXPECT_EQ(writer.span()[1], 1);
  EXPECT_EQ(writer.span()[4], 4);
  ByteReader reader(writer.span());
  EXPECT_EQ(reader.Read<uint8_t>(), 1);
  EXPECT_EQ(reader.Read<uint32_t>(), 0x04030201U);
  EXPECT_EQ(reader.Read<double>(), 2.5);
  EXPECT_EQ(reader.offset(), 13U);
  EXPECT_EQ(reader.ReadText(5), "wheel");
  EXPECT_EQ(reader.remaining(), 0U);
  EXPECT_TRUE(reader.ok());
}

TEST(ByteReaderTest, PastTheEndEverythingIsZeroAndStaysSo) {
  const std::string_view text = "abc";
  ByteReader reader(AsBytes(text));
  EXPECT_EQ(reader.Read<uint32_t>(), 0U);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.Read<uint8_t>(), 0);
  EXPECT_TRUE(reader.ReadSpan(1).empty());
  EXPECT_EQ(reader.remaining(), 0U);
}

TEST(ByteReaderTest, LengthsNearTheMaximumDoNotWrapAround) {
  ByteReader reader(AsBytes("abcd"));
  reader.Skip(1);
  EXPECT_TRUE(reader.ReadSpan(SIZE_MAX).empty());
  EXPECT_FALSE(reader.ok());
}

TEST(ByteReaderTest, EmptyReadsSucceedAtTheEnd) {
  ByteReader reader(ByteSpan{});
  EXPECT_TRUE(reader.ReadSpan(0).empty());
  EXPECT_TRUE(reader.ok());
}

TEST(ByteWriterTest, PadsWithZerosToTheAlignment) {
  ByteWriter writer;
  writer.PadTo(8);
  EXPECT_EQ(writer.size(), 0U);
  writer.Write(uint8_t{7});
  writer.PadTo(8);
  EXPECT_EQ(writer.size(), 8U);
  EXPECT_EQ(writer.span()[7], 0);
  writer.PadTo(8);
  EXPECT_EQ(writer.size(), 8U);
}

TEST(AlignUpTest, RoundsUpToMultiples) {
  EXPECT_EQ(AlignUp(0, 64), 0U);
  EXPECT_EQ(AlignUp(1, 64), 64U);
  EXPECT_EQ(AlignUp(64, 64), 64U);
  EXPECT_EQ(AlignUp(65, 64), 128U);
}

TEST(Crc32cTest, MatchesThePublishedCheckValue) {
  EXPECT_EQ(Crc32c(AsBytes("123456789")), 0xE3069283U);
  EXPECT_EQ(Crc32c({}), 0U);
}

TEST(Crc32cTest, PiecewiseEqualsWhole) {
  const std::string_view text = "123456789";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(Crc32c(AsBytes(text.substr(cut)), Crc32c(AsBytes(text.substr(0, cut)))), 0xE3069283U);
  }
}

}  // namespace
}  // namespace wheeltapper
