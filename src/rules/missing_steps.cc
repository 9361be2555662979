#include "missing_steps.h"

#include <fmt/format.h>

#include "robust.h"

namespace wheeltapper::rules {
namespace {

constexpr const char* kBackwards = "wheeltapper/backwards_without_step";
// So many may add up their gradients for one step; fewer at the end of the run are a try-out.
constexpr int64_t kManyBackwards = 1024;
constexpr int64_t kEnoughAtEnd = 128;
constexpr int64_t kFewestAtEnd = 8;

}  // namespace

Observation MissingSteps::Describe(Severity severity) const {
  return {.cause_key = kNeverStepped,
          .tensor = {},
          .module = {},
          .key = key_,
          .message = fmt::format("the optimizer never stepped: {} backward passes, and the weights "
                                 "are as they were",
                                 CountForPeople(backwards_)),
          .cause = "optimizer.step() is not called",
          .try_ = "call optimizer.step() after loss.backward()",
          .evidence = {},
          .severity = severity,
          .since = Step{0},
          .whole_model = true};
}

std::optional<Observation> MissingSteps::Add(const format::StepBatch& batch,
                                             const format::NameTable& names, bool stepped) {
  stepped_ = stepped_ || stepped;
  std::optional<Observation> observation;
  for (const format::ScalarRow& row : batch.scalars) {
    if (stepped_ || names.info(row.name).name != kBackwards) {
      continue;
    }
    backwards_ = static_cast<int64_t>(row.value);
    key_ = batch.key;
    if (backwards_ >= kManyBackwards) {
      observation = Describe(Severity::kWarning);
    }
  }
  return observation;
}

std::optional<Observation> MissingSteps::AtEnd() const {
  if (stepped_ || backwards_ < kFewestAtEnd) {
    return std::nullopt;
  }
  return Describe(backwards_ >= kEnoughAtEnd ? Severity::kError : Severity::kWarning);
}

}  // namespace wheeltapper::rules
