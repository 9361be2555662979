#include "wheeltapper/format/scalar_names.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"

namespace wheeltapper::format {
namespace {

TEST(ScalarNamesTest, LossesAreToldByTheirNamesAndWhatTheyAreMultipliedByIsNone) {
  const auto text = ReadWholeFile(WT_SOURCE_DIR "/src/format/test/loss_names.json", 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status().ToString();
  const nlohmann::json table = ParseJson(*text);
  ASSERT_GT(table["losses"].size(), 10U);
  for (const auto& name : table["losses"]) {
    EXPECT_TRUE(NamesLoss(name.get<std::string>())) << name;
  }
  ASSERT_GT(table["others"].size(), 10U);
  for (const auto& name : table["others"]) {
    EXPECT_FALSE(NamesLoss(name.get<std::string>())) << name;
  }
}

}  // namespace
}  // namespace wheeltapper::format
