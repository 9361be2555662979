#include "test/test_run.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "wheeltapper/core/crc32c.h"

namespace wheeltapper::format {
namespace {

constexpr uint32_t kWeight = 1;
constexpr uint32_t kGradient = 2;
constexpr uint32_t kSmall = 3;
constexpr uint32_t kLarge = 4;
constexpr uint32_t kLoss = 5;
constexpr uint32_t kLr = 6;
constexpr int64_t kLargeEvery = 3;
constexpr size_t kSmallBytes = 5 * 4;
constexpr size_t kLargeBytes = 1000 * 4;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string Line(const StepKey& key, const std::string& rest) {
  return fmt::format("r{} s{} {} m{} {}", key.rank.value, key.step.value, ModeName(key.mode),
                     key.mode_step, rest);
}

std::string StatsText(const std::string& name, const tensor::TensorStats& s, double median,
                      size_t bins) {
  return fmt::format(
      "stats {} n={} nan={} zero={} min={} max={} mean={} std={} l1={} absmax={} prod={} median={} "
      "bins={}",
      name, s.numel, s.nan_count, s.zero_count, s.min, s.max, s.mean, static_cast<float>(s.std(0)),
      s.l1, s.abs_max, s.log2_abs_prod, median, bins);
}

}  // namespace

Status MakeTestRun(const std::string& run_dir) {
  RunInfo info;
  info.name = "test-run";
  info.run_id = kTestRunId;
  info.started_wall_ns = 1'700'000'000'000'000'000;
  return CreateRunDirectory(run_dir, info);
}

WriterOptions TestWriterOptions(const std::string& run_dir, Rank rank) {
  WriterOptions options;
  options.run_dir = run_dir;
  options.rank = rank;
  options.run_id = kTestRunId;
  options.salt = 0x5A17;
  options.lock_wait_ns = 0;
  return options;
}

std::unique_ptr<Attempt> Attempt::Start(const WriterOptions& options, uint64_t incarnation,
                                        const Clock& clock, uint64_t journal_ring,
                                        uint64_t blob_ring) {
  auto attempt = std::make_unique<Attempt>();
  SegmentOptions segment;
  segment.path = JoinPath(JoinPath(options.run_dir, "journal"),
                          fmt::format("r{:05}-{}.ring", options.rank.value, incarnation));
  segment.rank = options.rank;
  segment.run_id = options.run_id;
  segment.incarnation = incarnation;
  segment.journal_ring_bytes = journal_ring;
  segment.blob_ring_bytes = blob_ring;
  Result<std::unique_ptr<RankSegment>> made = RankSegment::Create(segment);
  if (!made.ok()) {
    return nullptr;
  }
  attempt->segment = std::move(made).value();
  Result<std::unique_ptr<JournalWriter>> writer = JournalWriter::Open(options, clock);
  if (!writer.ok()) {
    return nullptr;
  }
  attempt->writer = std::move(writer).value();
  attempt->producer =
      std::make_unique<RingProducer>(*attempt->segment, attempt->writer->next_seq());
  return attempt;
}

void Attempt::WriteNames() const {
  producer->Tensor(kWeight, "layer.weight", tensor::DType::kF32, {10, 10}, {"weights", "all"});
  producer->Tensor(kGradient, "gradient/layer.weight", tensor::DType::kF64, {100}, {"gradients"});
  producer->Tensor(kSmall, "output/relu", tensor::DType::kF32, {5}, {"activations"});
  producer->Tensor(kLarge, "embedding", tensor::DType::kF32, {1000}, {});
  producer->Scalar(kLoss, "loss/train", {"losses"});
  producer->Scalar(kLr, "lr", {});
}

tensor::TensorStats SomeStats(int64_t step) {
  tensor::TensorStats stats;
  const auto x = static_cast<double>(step);
  stats.numel = 100;
  stats.nan_count = step % 3;
  stats.zero_count = 2;
  stats.negative_count = 40;
  stats.min = -1.5 - x;
  stats.max = 2.25 + x / 3;
  stats.mean = 0.1 * x;
  stats.m2 = 12.5 + x;
  stats.abs_min = 0;
  stats.abs_max = 2.25 + x;
  stats.l1 = 77.7;
  stats.abs_m2 = 3.25;
  stats.log2_abs_prod = step % 2 == 0 ? kNan : -std::numeric_limits<double>::infinity();
  stats.prod_sign = step % 2 == 0 ? kNan : 0;
  return stats;
}

std::vector<uint8_t> SomeBytes(int64_t step, size_t nbytes) {
  std::vector<uint8_t> bytes(nbytes);
  for (size_t i = 0; i < nbytes; ++i) {
    bytes[i] = static_cast<uint8_t>(i * 7 + static_cast<size_t>(step) * 31 + i / 256);
  }
  return bytes;
}

void Attempt::WriteStep(int64_t step) const {
  producer->AddScalars({{kLoss, 1.0 / static_cast<double>(step + 1)}, {kLr, 0.01}});
  producer->AddStats(kWeight, SomeStats(step), 0.25, {{-200, 3}, {0, 2}, {1500, 95}});
  producer->AddStats(kGradient, SomeStats(step + 1), kNan, {});
  producer->AddRaw(kSmall, SomeBytes(step, kSmallBytes));
  if (step % kLargeEvery == 0) {
    producer->AddBlob(kLarge, SomeBytes(step, kLargeBytes));
  }
  producer->Commit(step);
  if (step % 4 == 1) {
    producer->LogScalar(step, kLr, std::numeric_limits<double>::infinity());
    producer->LogMeta(step, fmt::format(R"({{"kind":"note","step":{}}})", step));
  }
}

std::vector<std::string> BatchLines(const StepBatch& batch, RunReader& reader) {
  std::vector<std::string> lines;
  lines.reserve(batch.scalars.size() + batch.stats.size() + batch.tensors.size() +
                batch.metas.size() + 1);
  const auto name = [&reader](NameId id) {
    const NameInfo& info = reader.names().info(id);
    return fmt::format("{} [{}]", info.name, fmt::join(info.collections, ","));
  };
  for (const ScalarRow& row : batch.scalars) {
    lines.push_back(Line(batch.key, fmt::format("scalar {} {}", name(row.name), row.value)));
  }
  for (const StatsRow& row : batch.stats) {
    lines.push_back(Line(
        batch.key, StatsText(name(row.name), row.stats, row.exact_median, row.histogram.size())));
  }
  for (const TensorRow& row : batch.tensors) {
    const auto bytes = reader.ReadTensor(row);
    lines.push_back(Line(batch.key, fmt::format("tensor {} {}x{} {}", name(row.name), row.nbytes,
                                                fmt::join(row.shape, "x"),
                                                bytes.ok() ? fmt::format("{:08x}", Crc32c(*bytes))
                                                           : bytes.status().ToString())));
  }
  for (const std::string& meta : batch.metas) {
    lines.push_back(Line(batch.key, "meta " + meta));
  }
  // Rows of a sealed table come in name order.
  std::sort(lines.begin(), lines.end());
  if (batch.is_step) {
    lines.push_back(Line(
        batch.key,
        fmt::format("commit wall={} mono={} blocked={} step={} wait={} records={}", batch.wall_ns,
                    batch.commit.monotonic_ns, batch.commit.blocked_ns, batch.commit.step_ns,
                    batch.commit.data_wait_ns, batch.commit.record_count > 0)));
  }
  return lines;
}

RunText ReadRun(const std::string& run_dir) {
  RunText text;
  Result<std::unique_ptr<RunReader>> reader = RunReader::Open(run_dir);
  if (!reader.ok()) {
    text.lines.push_back(reader.status().ToString());
    return text;
  }
  size_t batches = 0;
  size_t before = 0;
  do {
    before = batches;
    const Status polled = (*reader)->Poll([&](StepBatch&& batch) {
      ++batches;
      for (std::string& line : BatchLines(batch, **reader)) {
        text.lines.push_back(std::move(line));
      }
      for (const GapRow& row : batch.gaps) {
        text.gaps.push_back(fmt::format(
            "gap {}-{} reason {} what {} tensors {} bytes {}", row.gap.first_step,
            row.gap.last_step, static_cast<uint32_t>(row.gap.reason),
            static_cast<uint32_t>(row.gap.what), row.gap.tensors_dropped, row.gap.bytes_dropped));
      }
    });
    if (!polled.ok()) {
      text.lines.push_back(polled.ToString());
      break;
    }
  } while (batches != before);
  for (const SkippedBytes& skipped : (*reader)->skipped()) {
    text.skipped.push_back(
        fmt::format("{} @{}+{} {}", skipped.file, skipped.offset, skipped.nbytes, skipped.reason));
  }
  return text;
}

std::vector<std::string> ExpectedLines(int64_t first, int64_t last) {
  std::vector<std::string> lines;
  for (int64_t step = first; step <= last; ++step) {
    const StepKey key{Rank{0}, Step{step}, Mode::kTrain, step};
    std::vector<std::string> rows;
    rows.push_back(Line(
        key, fmt::format("scalar loss/train [losses] {}", 1.0 / static_cast<double>(step + 1))));
    rows.push_back(Line(key, "scalar lr [] 0.01"));
    const auto stats = [&](const std::string& name, int64_t of, bool wide, double median,
                           size_t bins) {
      tensor::TensorStats s = SomeStats(of);
      if (!wide) {
        for (double* value : {&s.min, &s.max, &s.mean, &s.l1, &s.abs_max}) {
          *value = static_cast<double>(static_cast<float>(*value));
        }
      }
      rows.push_back(Line(key, StatsText(name, s, median, bins)));
    };
    stats("layer.weight [weights,all]", step, false, 0.25, 3);
    stats("gradient/layer.weight [gradients]", step + 1, true, kNan, 0);
    rows.push_back(Line(key, fmt::format("tensor output/relu [activations] {}x5 {:08x}",
                                         kSmallBytes, Crc32c(SomeBytes(step, kSmallBytes)))));
    if (step % kLargeEvery == 0) {
      rows.push_back(Line(key, fmt::format("tensor embedding [] {}x1000 {:08x}", kLargeBytes,
                                           Crc32c(SomeBytes(step, kLargeBytes)))));
    }
    std::sort(rows.begin(), rows.end());
    constexpr TimeNs kWallUs = 1'700'000'000'000'001'000;
    rows.push_back(
        Line(key, fmt::format("commit wall={} mono={} blocked=17 step=1000003 wait=5 records=true",
                              kWallUs + step * 1'000'000, 1000 + step)));
    lines.insert(lines.end(), rows.begin(), rows.end());
    if (step % 4 == 1) {
      const StepKey global{Rank{0}, Step{step}, Mode::kGlobal, step};
      lines.push_back(Line(global, "scalar lr [] inf"));
      lines.push_back(Line(global, fmt::format(R"(meta {{"kind":"note","step":{}}})", step)));
    }
  }
  return lines;
}

Status WriteGoldenRun(const std::string& run_dir) {
  WT_RETURN_IF_ERROR(MakeTestRun(run_dir));
  const ManualClock clock;
  auto attempt = Attempt::Start(TestWriterOptions(run_dir), 1, clock, 1 << 16, 1 << 16);
  if (attempt == nullptr) {
    return InternalError("writing the golden run: no writer");
  }
  attempt->WriteNames();
  for (int64_t step = 0; step < 4; ++step) {
    attempt->WriteStep(step);
  }
  WT_RETURN_IF_ERROR(attempt->writer->Drain(*attempt->segment).status());
  WT_RETURN_IF_ERROR(attempt->writer->RotateIfDue(true));
  WT_RETURN_IF_ERROR(attempt->writer->SealNext().status());
  for (int64_t step = 4; step < 7; ++step) {
    attempt->WriteStep(step);
  }
  WT_RETURN_IF_ERROR(attempt->writer->Drain(*attempt->segment).status());
  return attempt->segment->Remove();
}

}  // namespace wheeltapper::format
