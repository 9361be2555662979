#include "dead_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wheeltapper::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(DeadRunsTest, AMissingRunIsToldWithTheVeryFileThatHoldsItsSteps) {
  format::DeadRunsReport report;
  report.missing = {{.segment = "/dev/shm/wheeltapper-1-r00000-1", .run_dir = "/disk/runs/one"},
                    {.segment = "/dev/shm/wheeltapper-2-r00003-2", .run_dir = "/disk/runs/two"}};
  const std::vector<std::string> messages = DeadRunsMessages(report, false);
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_THAT(messages[1], HasSubstr("/dev/shm/wheeltapper-2-r00003-2 holds"));
  EXPECT_THAT(messages[1], HasSubstr("not at /disk/runs/two;"));
  EXPECT_THAT(messages[1], testing::Not(HasSubstr("*"))) << "living jobs have files there too";
  EXPECT_THAT(DeadRunsMessages(report, true), IsEmpty());
}

TEST(DeadRunsTest, PathsAreMadePrintable) {
  const std::string path = "/runs/\x1b[2Jrun";
  format::DeadRunsReport report;
  report.recovered = {path};
  report.gone = {path};
  report.missing = {{.segment = path, .run_dir = path}};
  report.failed = {path + ": why"};
  EXPECT_EQ(DeadRunsMessages(report, false).size(), 4U);
  for (const std::string& message : DeadRunsMessages(report, false)) {
    EXPECT_THAT(message, HasSubstr("/runs/?[2Jrun"));
    EXPECT_EQ(message.find('\x1b'), std::string::npos) << message;
  }
  EXPECT_THAT(DeadRunsMessages(report, true), ElementsAre(HasSubstr("run: why")));
}

}  // namespace
}  // namespace wheeltapper::cli
