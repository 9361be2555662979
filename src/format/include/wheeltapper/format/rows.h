// Decoded rows of a run, as readers hand them on.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/tensor/dtype.h"
#include "wheeltapper/tensor/sketch.h"
#include "wheeltapper/tensor/stats.h"

namespace wheeltapper::format {

// Dense id of a name within one reader; the same for all ranks, stable while the reader lives.
using NameId = uint32_t;

// What a reader knows about a name. Shape and dtype are the latest seen.
struct NameInfo {
  std::string name;
  DescKind kind = DescKind::kTensor;
  tensor::DType dtype = tensor::DType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::string> collections;
};

class NameTable {
 public:
  // The id of `name`, new when unknown.
  NameId Intern(const std::string& name);
  [[nodiscard]] const NameId* Find(const std::string& name) const;
  [[nodiscard]] const NameInfo& info(NameId id) const { return infos_[id]; }
  NameInfo& info(NameId id) { return infos_[id]; }
  [[nodiscard]] size_t size() const { return infos_.size(); }

 private:
  std::vector<NameInfo> infos_;
  std::unordered_map<std::string, NameId> ids_;
};

struct StepKey {
  Rank rank;
  Step step;
  Mode mode = Mode::kTrain;
  int64_t mode_step = 0;
  auto operator<=>(const StepKey&) const = default;
};

struct ScalarRow {
  NameId name;
  double value;
};

struct StatsRow {
  NameId name;
  tensor::DType dtype;
  tensor::TensorStats stats;
  double exact_median;                          // NaN when not asked for
  std::vector<tensor::HistogramBin> histogram;  // empty when not asked for
};

// Where a raw tensor's bytes are: in a journal file (inline), an open blob, or a sealed blob.
struct TensorRow {
  NameId name;
  tensor::DType dtype;
  std::vector<int64_t> shape;
  std::string file;  // relative to the run directory
  uint64_t offset;
  uint64_t nbytes;
  uint32_t crc;
};

struct GapRow {
  GapPayload gap;
};

// Everything of one committed transaction: a step's commit, or one self-committed record.
struct StepBatch {
  StepKey key;
  // Sequence numbers of the rank's records that it covers, the COMMIT included: a batch belongs to
  // the sealed file whose [first_seq, last_seq] holds them.
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
  TimeNs wall_ns = 0;
  bool is_step =
      false;  // true: closed by a COMMIT (a finished step); false: log(), gap, meta between steps
  CommitPayload commit{};  // zero unless is_step
  std::vector<ScalarRow> scalars;
  std::vector<StatsRow> stats;
  std::vector<TensorRow> tensors;
  std::vector<GapRow> gaps;
  std::vector<std::string> metas;  // JSON objects
};

}  // namespace wheeltapper::format
