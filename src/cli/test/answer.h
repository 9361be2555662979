// The program called in process: how it ended and what it printed.
#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "wheeltapper/cli/main.h"

namespace wheeltapper::cli {

struct Answer {
  int code = 0;
  std::string out;
  std::string err;
};

inline Answer AnswerTo(const std::vector<std::string>& args) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Answer answer;
  answer.code = Main(args);
  answer.out = testing::internal::GetCapturedStdout();
  answer.err = testing::internal::GetCapturedStderr();
  return answer;
}

}  // namespace wheeltapper::cli
