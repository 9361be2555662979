#include <fstream>

#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/rules/engine.h"

#include "support/scratch_folder.h"

namespace wheeltapper::rules {
namespace {

TEST(RuleStatesTest, ReadsBackWhatItWrote) {
  const ScratchFolder scratch;
  std::vector<RuleStatus> written(3);
  written[0].name = "waits";
  written[0].detail = "needs a loss";
  written[0].batches = 3;
  written[1].name = "built_in";
  written[1].state = RuleState::kActive;
  written[1].left_out = "no loss is flat";
  written[2].name = "mine";
  written[2].state = RuleState::kActive;
  written[2].sandbox_note = "no Landlock";
  ASSERT_TRUE(WriteRuleStates(scratch.path(), written).ok());
  const auto read = ReadRuleStates(scratch.path());
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  ASSERT_EQ(read->size(), written.size());
  for (size_t i = 0; i < written.size(); ++i) {
    EXPECT_EQ((*read)[i].name, written[i].name);
    EXPECT_EQ((*read)[i].state, written[i].state);
    EXPECT_EQ((*read)[i].detail, written[i].detail);
    EXPECT_EQ((*read)[i].left_out, written[i].left_out);
    EXPECT_EQ((*read)[i].sandbox_note, written[i].sandbox_note);
    EXPECT_EQ((*read)[i].batches, written[i].batches);
  }
}

TEST(RuleStatesTest, ReadsFilesFromBeforeTheNotesHadKeysOfTheirOwn) {
  const ScratchFolder scratch;
  std::ofstream(JoinPath(scratch.path(), "rules.json"))
      << R"([{"name":"loss_not_decreasing","state":"active","detail":"no loss is flat"},)"
      << R"({"name":"mine","state":"active","detail":"no Landlock"}])";
  const auto read = ReadRuleStates(scratch.path());
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ((*read)[0].left_out, "no loss is flat");
  EXPECT_EQ((*read)[1].sandbox_note, "no Landlock");
  EXPECT_EQ((*read)[1].detail, "");
}

}  // namespace
}  // namespace wheeltapper::rules
