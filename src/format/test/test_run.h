// A run directory with one rank, written through rings as capture writes it, and its contents as
// text for comparison.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/format/journal_writer.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"

#include "support/scratch_folder.h"
#include "test/ring_producer.h"

namespace wheeltapper::format {

inline constexpr uint64_t kTestRunId = 0x00c0ffee00c0ffee;

Status MakeTestRun(const std::string& run_dir);
WriterOptions TestWriterOptions(const std::string& run_dir, Rank rank = Rank{0});

// Segment, writer and producer of one attempt. Order of making: segment, writer, producer, as
// capture does.
struct Attempt {
  static std::unique_ptr<Attempt> Start(const WriterOptions& options, uint64_t incarnation,
                                        const Clock& clock, uint64_t journal_ring = 1 << 20,
                                        uint64_t blob_ring = 1 << 20);
  // Interns the names of WriteStep.
  void WriteNames() const;
  // One step with scalars, stats, an inline and (every third step) a large tensor; self-committed
  // records in between.
  void WriteStep(int64_t step) const;

  std::unique_ptr<RankSegment> segment;
  std::unique_ptr<JournalWriter> writer;
  std::unique_ptr<RingProducer> producer;
};

// Everything a reader says of a run, one line per row, in delivery order per rank; tensors with
// their bytes' checksum.
struct RunText {
  std::vector<std::string> lines;
  std::vector<std::string> gaps;  // kept apart: damage adds some
  std::vector<std::string> skipped;
};
// Reads with a new reader until nothing comes any more.
RunText ReadRun(const std::string& run_dir);
std::vector<std::string> BatchLines(const StepBatch& batch, RunReader& reader);

// The lines of WriteNames and WriteStep(first … last).
std::vector<std::string> ExpectedLines(int64_t first, int64_t last);

// The run of tests/golden: steps 0 … 3 sealed, 4 … 6 in the journal, as a killed job whose ring is
// gone leaves it.
Status WriteGoldenRun(const std::string& run_dir);

tensor::TensorStats SomeStats(int64_t step);
std::vector<uint8_t> SomeBytes(int64_t step, size_t nbytes);

}  // namespace wheeltapper::format
