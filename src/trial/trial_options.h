// How a trial reaches the outside world; tests replace what they need.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/trial/trial.h"

namespace wheeltapper::trial {

struct TrialOptions {
  const Clock* clock = nullptr;  // null: the machine's
  // Lets `ns` pass; used between two looks of WaitForStep. Empty: sleeps.
  std::function<void(TimeNs ns)> pause;
  // Decoded Parquet pages that are kept, in bytes. One block is always kept, however large.
  uint64_t cache_bytes = uint64_t{64} << 20;
  // Mapped blobs that are kept; a TensorValue keeps its own mapping alive beyond that.
  size_t mapped_blobs = 64;
};

// Trial::Open with options. `clock` outlives the trial.
Result<std::unique_ptr<Trial>> OpenTrial(const std::string& path, const TrialOptions& options);

}  // namespace wheeltapper::trial
