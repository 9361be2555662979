// A recorder over a rank segment without a drain: the test reads the rings itself, so that rings
// are full exactly when it says so.
#pragma once

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "fixture.h"
#include "recorder.h"

namespace wheeltapper::capture {

inline constexpr TimeNs kNow = 1'000'000;

struct Seen {
  format::RecordHeader header;
  std::vector<uint8_t> payload;
};

class RecorderTest : public ::testing::Test {
 protected:
  void Make(const Config& config, OnFull on_full, uint64_t journal_bytes = 1 << 20,
            uint64_t blob_bytes = 1 << 20) {
    recorder_.reset();
    segment_.reset();
    format::SegmentOptions options;
    options.path = run_.dir() + "/ring" + std::to_string(rings_++);
    options.journal_ring_bytes = journal_bytes;
    options.blob_ring_bytes = blob_bytes;
    auto segment = format::RankSegment::Create(options);
    ASSERT_TRUE(segment.ok()) << segment.status().ToString();
    segment_ = std::move(segment).value();
    auto plan = CapturePlan::Create(config);
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();
    RecorderOptions recording;
    recording.on_full = on_full;
    recording.governor.budget = config.GetFloat("budget");
    recorder_ = std::make_unique<Recorder>(recording, *plan, segment_.get(), &clock_);
  }

  CaptureId Tensor(const std::string& name, int64_t count, Role role = Role::kOther) {
    const TensorSpec spec{name, role, tensor::DType::kF32, {count}, false, ""};
    auto decision = recorder_->plan().Decide(spec);
    EXPECT_TRUE(decision.ok());
    const auto id = recorder_->Add(TensorEntry(spec, *decision), kNow);
    EXPECT_TRUE(id.ok()) << id.status().ToString();
    return id.value_or(0);
  }
  CaptureId Scalar(const std::string& name) {
    return recorder_->Add(ScalarTableEntry(name, true, {}), kNow).value_or(0);
  }

  void Step(std::span<const TensorItem> items) {
    (void)recorder_->armed(Mode::kTrain);
    recorder_->Record(items);
    clock_.Advance(kNow);
    recorder_->FinishStep(Mode::kTrain, {});
  }

  // Everything published, oldest first; checks that sequence numbers have no hole.
  std::vector<Seen> ReadAll() {
    std::vector<Seen> seen;
    const auto bytes = segment_->journal_ring().Readable();
    size_t at = 0;
    while (at < bytes.size()) {
      Seen one{};
      std::memcpy(&one.header, &bytes[at], sizeof(one.header));
      EXPECT_EQ(one.header.seq, next_seq_++);
      const uint8_t* payload = &bytes[at] + sizeof(one.header);
      one.payload.assign(payload, payload + one.header.payload_bytes);
      at += format::RecordBytes(one.header.payload_bytes);
      seen.push_back(std::move(one));
    }
    segment_->journal_ring().Release(bytes.size());
    segment_->blob_ring().Release(segment_->blob_ring().Readable().size());
    return seen;
  }

  static std::vector<format::RecordType> Types(const std::vector<Seen>& seen) {
    std::vector<format::RecordType> types;
    types.reserve(seen.size());
    for (const Seen& one : seen) {
      types.push_back(one.header.type);
    }
    return types;
  }
  template <typename T>
  static T Payload(const Seen& seen, size_t offset = 0) {
    T value{};
    std::memcpy(&value, seen.payload.data() + offset, sizeof(T));
    return value;
  }
  static std::vector<format::GapPayload> Gaps(const std::vector<Seen>& seen) {
    std::vector<format::GapPayload> gaps;
    for (const Seen& one : seen) {
      if (one.header.type == format::RecordType::kGap) {
        gaps.push_back(Payload<format::GapPayload>(one));
      }
    }
    return gaps;
  }

  TemporaryRun run_;
  ManualClock clock_;
  std::unique_ptr<format::RankSegment> segment_;
  std::unique_ptr<Recorder> recorder_;
  uint64_t next_seq_ = 1;
  int rings_ = 0;
};

}  // namespace wheeltapper::capture
