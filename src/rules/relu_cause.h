// What in the layer before a ReLU keeps it off, as far as the layer's parameters were captured.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>

#include "wheeltapper/format/rows.h"

#include "growth_cause.h"
#include "model_description.h"

namespace wheeltapper::rules {

class ReluCause {
 public:
  // Of a parameter or an output.
  void Add(const format::StatsRow& row);

  // `inputs` says how many of the ReLU's inputs are not positive. Nothing where no parameter of the
  // layer explains it.
  [[nodiscard]] std::optional<Cause> Of(const ModuleDescription& layer, const std::string& inputs,
                                        const format::NameTable& names) const;

 private:
  struct Seen {
    double first_mean = 0;
    double mean = 0;
    double first_rms = 0;
    double rms = 0;
    bool was_zero = false;  // every element, when first seen
    bool is_zero = false;
  };
  [[nodiscard]] const Seen* Find(const format::NameTable& names, const std::string& name) const;
  static Cause OfZeros(const std::string& name, const Seen& weight, const std::string& inputs);
  static std::optional<Cause> OfWeight(const std::string& name, const Seen& weight,
                                       const std::string& inputs);
  static std::optional<Cause> OfBias(const std::string& name, const Seen& bias, const Seen* output,
                                     const std::string& inputs);

  std::unordered_map<format::NameId, Seen> seen_;
};

}  // namespace wheeltapper::rules
