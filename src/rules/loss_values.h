// The losses of a batch, however they were captured: scalars that are named like one, tensors under
// loss/ or in the collection losses.
#pragma once

#include <string>
#include <vector>

#include "wheeltapper/format/rows.h"

#include "tensor_names.h"

namespace wheeltapper::rules {

struct LossValue {
  format::NameId id = 0;
  std::string name;
  format::StepKey key;
  double value = 0;  // may be NaN or infinite
};

// With a `choice` that is not empty: those tensors and scalars (mean of a tensor). Otherwise
// everything that is a loss.
std::vector<LossValue> LossesOf(const format::StepBatch& batch, const format::NameTable& names,
                                const TensorChoice& choice, TensorRoles& roles);

}  // namespace wheeltapper::rules
