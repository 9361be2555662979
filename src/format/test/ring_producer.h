// Stands in for capture in tests: writes steps into a rank's rings, and knows what a reader must
// then say.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/format/journal.h"
#include "wheeltapper/format/rank_segment.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/tensor/dtype.h"

namespace wheeltapper::format {

class RingProducer {
 public:
  RingProducer(RankSegment& segment, uint64_t next_seq) : segment_(segment), seq_(next_seq) {}

  // Interns a name, as part of the transaction that is next committed.
  void Tensor(uint32_t id, const std::string& name, tensor::DType dtype,
              const std::vector<int64_t>& shape, const std::vector<std::string>& collections = {});
  void Scalar(uint32_t id, const std::string& name,
              const std::vector<std::string>& collections = {});

  void AddScalars(const std::vector<std::pair<uint32_t, double>>& values);
  void AddStats(uint32_t id, const tensor::TensorStats& stats, double median,
                const std::vector<tensor::HistogramBin>& histogram);
  void AddRaw(uint32_t id, const std::vector<uint8_t>& data);
  // Through the blob ring.
  void AddBlob(uint32_t id, const std::vector<uint8_t>& data);
  void AddGap(const GapPayload& gap);
  // Closes and publishes the transaction.
  void Commit(int64_t step, Mode mode = Mode::kTrain);
  // Publishes what was added without closing it, as a job killed in the middle never would.
  void PublishUnfinished();

  // Self-committed records, published at once.
  void LogScalar(int64_t step, uint32_t id, double value);
  void LogMeta(int64_t step, const std::string& json);

  [[nodiscard]] uint64_t next_seq() const { return seq_; }
  // A tensor of a step whose data does not fit any more made Add… fail.
  [[nodiscard]] bool full() const { return full_; }

 private:
  void Put(RecordType type, uint16_t flags, ByteSpan payload);
  void PutDesc(const DescEntry& head, const std::vector<int64_t>& shape, const std::string& name,
               const std::vector<std::string>& collections);

  RankSegment& segment_;
  uint64_t seq_;
  uint64_t first_seq_ = 0;
  uint32_t records_ = 0;
  int64_t step_ = 0;
  Mode mode_ = Mode::kTrain;
  bool full_ = false;
  std::vector<uint8_t*> open_;
};

}  // namespace wheeltapper::format
