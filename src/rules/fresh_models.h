// When training begins anew in the same process, as for each fold of a cross-validation: a new
// optimizer over parameters that no other one had. What losses did before then says nothing.
#pragma once

#include <cstddef>

#include "model_description.h"

namespace wheeltapper::rules {

class FreshModels {
 public:
  // To be asked after each batch was added to the model; true once for each new optimizer.
  bool Add(const ModelDescription& model) {
    const bool is_fresh = model.optimizers() > known_ && known_ > 0;
    known_ = model.optimizers();
    return is_fresh;
  }

 private:
  size_t known_ = 0;
};

}  // namespace wheeltapper::rules
