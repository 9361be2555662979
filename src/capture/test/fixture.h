// A run directory in a temporary folder, configurations from flags, tensors with known values.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "wheeltapper/capture/session.h"
#include "wheeltapper/core/config.h"
#include "wheeltapper/format/run_directory.h"

#include "support/scratch_folder.h"

namespace wheeltapper::capture {

inline Config ConfigOf(std::vector<ConfigFlag> flags) {
  ConfigSources sources;
  sources.flags = std::move(flags);
  Result<Config> config = Config::Load(sources);
  EXPECT_TRUE(config.ok()) << config.status().ToString();
  return config.ok() ? *config : Config::Defaults();
}

// Every step, whatever it costs: what most tests want.
inline Config EveryStep(std::vector<ConfigFlag> more = {}) {
  more.push_back({"capture.every", "1", ""});
  return ConfigOf(std::move(more));
}

class TemporaryRun {
 public:
  TemporaryRun() {
    format::RunInfo info;
    info.format_version = 1;
    info.min_reader = 1;
    info.name = "run";
    info.run_id = std::hash<std::string>{}(run_dir_) | 1;
    const Status made = format::CreateRunDirectory(run_dir_, info);
    EXPECT_TRUE(made.ok()) << made.ToString();
  }
  TemporaryRun(const TemporaryRun&) = delete;
  TemporaryRun& operator=(const TemporaryRun&) = delete;
  ~TemporaryRun() {
    std::error_code ignored;
    // A session that could not end cleanly leaves its segment for recovery.
    if (const auto rank = format::ReadRankInfo(run_dir_, Rank{0}); rank.ok()) {
      std::filesystem::remove(rank->segment_path, ignored);
    }
  }
  [[nodiscard]] const std::string& dir() const { return run_dir_; }

 private:
  ScratchFolder folder_;
  std::string run_dir_ = folder_.file("run");
};

// An owned f32 vector and its view.
struct Vector {
  explicit Vector(size_t count, float value = 1.0F)
      : values(count, value), shape(static_cast<int64_t>(count)) {}
  [[nodiscard]] TensorItem item(CaptureId id, double scale = 1.0) const {
    return {id, {values.data(), tensor::DType::kF32, 1, &shape, nullptr}, scale};
  }
  std::vector<float> values;
  int64_t shape;
};

}  // namespace wheeltapper::capture
