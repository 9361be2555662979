#include "loss_values.h"

namespace wheeltapper::rules {

std::vector<LossValue> LossesOf(const format::StepBatch& batch, const format::NameTable& names,
                                const TensorChoice& choice, TensorRoles& roles) {
  std::vector<LossValue> losses;
  const auto add = [&](format::NameId id, double value) {
    const format::NameInfo& info = names.info(id);
    const bool wanted =
        choice.empty() ? roles.Of(names, id).kind == TensorKind::kLoss : choice.Has(info);
    if (wanted) {
      losses.push_back({.id = id, .name = info.name, .key = batch.key, .value = value});
    }
  };
  for (const format::ScalarRow& row : batch.scalars) {
    add(row.name, row.value);
  }
  for (const format::StatsRow& row : batch.stats) {
    add(row.name, row.stats.mean);
  }
  return losses;
}

}  // namespace wheeltapper::rules
