// Any bytes as a line of findings.jsonl: DataLoss, or a finding that is written and read back the
// same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/rules/finding.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace rules = wheeltapper::rules;
  const auto finding = rules::FindingFromJson(wheeltapper::AsText({data, size}));
  if (!finding.ok()) {
    if (finding.status().code() != wheeltapper::StatusCode::kDataLoss) {
      std::abort();
    }
    return 0;
  }
  const std::string line = rules::FindingToJson(*finding);
  const auto again = rules::FindingFromJson(line);
  if (!again.ok() || rules::FindingToJson(*again) != line) {
    std::abort();
  }
  return 0;
}
