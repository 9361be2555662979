// Any bytes as a journal file: the scanner must end, stay within them, and show only what it can
// name.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "journal_scanner.h"

namespace {

using wheeltapper::ByteSpan;
using wheeltapper::Rank;
using wheeltapper::format::JournalScanner;
using wheeltapper::format::ScannedBatch;
using wheeltapper::format::ScanSink;

constexpr uint64_t kRunId = 0x00c0ffee00c0ffee;

class CheckingSink final : public ScanSink {
 public:
  explicit CheckingSink(size_t size) : size_(size) {}
  void OnBatch(ScannedBatch&& batch) override {
    for (const auto& row : batch.tensors) {
      if (!row.blob_number && (row.offset > size_ || row.nbytes > size_ - row.offset)) {
        std::abort();
      }
    }
    if (batch.last_seq < batch.first_seq) {
      std::abort();
    }
  }
  void OnSkipped(uint64_t offset, uint64_t nbytes, const std::string& /*reason*/) override {
    if (offset > size_ || nbytes > size_ - offset) {
      std::abort();
    }
  }

 private:
  size_t size_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteSpan bytes(data, size);
  CheckingSink sink(size);
  JournalScanner whole(Rank{0}, kRunId, 0);
  whole.Scan(bytes, true, sink);
  if (whole.offset() > size) {
    std::abort();
  }
  // In two pieces, as a tail grows.
  JournalScanner tail(Rank{0}, kRunId, 0);
  const uint64_t consumed = tail.Scan(bytes.first(size / 2), false, sink);
  tail.Scan(bytes.subspan(consumed), true, sink);
  return 0;
}
