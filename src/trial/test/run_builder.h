// Writes real run directories as a job does: records into a rank's rings, drained, rotated, sealed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/ids.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/journal_writer.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/tensor/dtype.h"
#include "wheeltapper/tensor/sketch.h"
#include "wheeltapper/tensor/stats.h"

#include "support/scratch_folder.h"

namespace wheeltapper::trial {

constexpr uint64_t kTestRunId = 0x1234;

// Makes run.json; fails the test when it cannot.
void MakeRun(const std::string& run_dir, const Clock& clock);

struct RankBuilderOptions {
  uint64_t incarnation = 1;
  uint64_t journal_ring_bytes = 4 << 20;
  uint64_t blob_ring_bytes = 0;
};

// One rank. Everything fails the running test when it does not work. A step is visible after
// Commit and Drain.
class RankBuilder {
 public:
  RankBuilder(const std::string& run_dir, Rank rank, const Clock& clock,
              const RankBuilderOptions& options = {});
  RankBuilder(const RankBuilder&) = delete;
  RankBuilder& operator=(const RankBuilder&) = delete;
  // The rank dies: its lock is freed, its files stay, but for the segment of a closed one.
  ~RankBuilder();

  // What the records after it belong to.
  void Begin(int64_t step, Mode mode, int64_t mode_step);
  void Scalar(const std::string& name, double value,
              const std::vector<std::string>& collections = {});
  // Statistics of `values`, as f32.
  void Stats(const std::string& name, const std::vector<float>& values,
             const std::vector<std::string>& collections = {}, bool histogram = false);
  // The values themselves, inline in the journal, or through the blob ring.
  void Raw(const std::string& name, const std::vector<float>& values);
  void Blob(const std::string& name, const std::vector<float>& values);
  void Commit(TimeNs blocked_ns = 10'000, TimeNs step_ns = 1'000'000);
  // Stand alone, between steps or within one.
  void Log(const std::string& name, double value);
  void Gap(int64_t first_step, int64_t last_step);
  void Meta(const std::string& json);

  void Drain();
  // Closes the journal file and queues it for sealing.
  void Rotate();
  // Seals all that is queued; false when there was nothing.
  bool Seal();
  // A clean end: everything drained and sealed, the segment removed.
  void Close();

  void Heartbeat(TimeNs monotonic_ns);
  format::RankSegment& segment() { return *segment_; }
  format::JournalWriter& writer() { return *writer_; }

 private:
  uint32_t Describe(const std::string& name, format::DescKind kind,
                    const std::vector<int64_t>& shape, const std::vector<std::string>& collections);
  uint8_t* Record(format::RecordType type, uint64_t payload_bytes, bool alone);

  std::string run_dir_;
  const Clock& clock_;
  std::unique_ptr<format::RankSegment> segment_;
  std::unique_ptr<format::JournalWriter> writer_;
  std::map<std::string, uint32_t> descs_;
  uint64_t next_seq_ = 1;
  uint64_t first_seq_ = 0;  // of the open transaction
  uint32_t records_ = 0;
  int64_t step_ = 0;
  int64_t mode_step_ = 0;
  Mode mode_ = Mode::kTrain;
};

}  // namespace wheeltapper::trial
