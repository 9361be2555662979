#include "row_order.h"

#include <algorithm>
#include <limits>

#include "tensor_names.h"

namespace wheeltapper::rules {

const RowOrder::Place& RowOrder::PlaceOf(const format::NameTable& names, format::NameId id) {
  if (id >= places_.size()) {
    places_.resize(id + size_t{1});
  }
  Place& place = places_[id];
  if (std::get<std::string>(place).empty()) {
    constexpr size_t kLast = std::numeric_limits<size_t>::max();
    const std::string& name = names.info(id).name;
    const std::string subject = SubjectOfName(name);
    const auto parameter = model_.OrderOfParameter(subject);
    const auto module = model_.OrderOfModule(parameter ? ModuleOfParameter(subject) : subject);
    place = {module.value_or(kLast), parameter.value_or(kLast), name};
  }
  return place;
}

const format::StepBatch& RowOrder::Ordered(const format::StepBatch& batch,
                                           const format::NameTable& names) {
  if (!batch.metas.empty()) {
    model_.Add(batch.metas);
    places_.clear();
  }
  for (const format::StatsRow& row : batch.stats) {
    PlaceOf(names, row.name);
  }
  const auto before = [this](const format::StatsRow& a, const format::StatsRow& b) {
    return places_[a.name] < places_[b.name];
  };
  if (std::is_sorted(batch.stats.begin(), batch.stats.end(), before)) {
    return batch;
  }
  ordered_ = batch;
  std::stable_sort(ordered_.stats.begin(), ordered_.stats.end(), before);
  return ordered_;
}

}  // namespace wheeltapper::rules
