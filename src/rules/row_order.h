// The order in which rules see the statistics of a batch: of the model, whatever the order in which
// they come. Rows of a run that goes on come as they were recorded, sealed ones sorted by name;
// what a rule finds first must not depend on that.
#pragma once

#include <cstddef>
#include <string>
#include <tuple>
#include <vector>

#include "wheeltapper/format/rows.h"

#include "model_description.h"

namespace wheeltapper::rules {

class RowOrder {
 public:
  // The batch with its statistics by module, by parameter within it, then by name. Valid until the
  // next call, and as long as `batch`, which it is itself where it is in order.
  const format::StepBatch& Ordered(const format::StepBatch& batch, const format::NameTable& names);

 private:
  using Place = std::tuple<size_t, size_t, std::string>;  // of the module, of the parameter, name
  const Place& PlaceOf(const format::NameTable& names, format::NameId id);

  ModelDescription model_;
  std::vector<Place> places_;  // by id; the name is "" while it is not known
  format::StepBatch ordered_;
};

}  // namespace wheeltapper::rules
