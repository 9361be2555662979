// A run that holds nothing but run.json.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/run_directory.h"

namespace wheeltapper::cli {

inline void MakeRun(const std::string& folder, const std::string& name, TimeNs started) {
  format::RunInfo info;
  info.format_version = format::kFormatVersion;
  info.min_reader = format::kMinReaderVersion;
  info.name = name;
  info.run_id = 7;
  info.started_wall_ns = started;
  ASSERT_TRUE(format::CreateRunDirectory(JoinPath(folder, name), info).ok());
}

}  // namespace wheeltapper::cli
