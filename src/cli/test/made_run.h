// Runs that hold nothing but run.json, and which trainings a command has begun.
#pragma once

#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/trainings.h"

namespace wheeltapper::cli {

inline void MakeRun(const std::string& folder, const std::string& name, TimeNs started,
                    const std::string& first_run = "") {
  format::RunInfo info;
  info.format_version = format::kFormatVersion;
  info.min_reader = format::kMinReaderVersion;
  info.name = name;
  info.run_id = 7;
  info.started_wall_ns = started;
  info.first_run = first_run;
  ASSERT_TRUE(format::CreateRunDirectory(JoinPath(folder, name), info).ok());
}

// What a command's processes leave that began one training after the other, in these runs.
inline void WriteTrainings(const std::string& run_dir, const std::vector<std::string>& runs) {
  std::string lines;
  for (size_t i = 0; i < runs.size(); ++i) {
    lines += fmt::format(R"({{"event":"began","training":{},"attempt":1,"rank":0,"run":"{}"}})",
                         i + 1, runs[i]) +
             "\n";
  }
  ASSERT_TRUE(WriteFileAtomically(format::TrainingsPath(run_dir), lines).ok());
}

}  // namespace wheeltapper::cli
