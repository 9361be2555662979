// What was not finite when it was last seen, and may still be so.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "wheeltapper/core/ids.h"
#include "wheeltapper/format/rows.h"

namespace wheeltapper::rules {

// A name that does not come again, while others of its sort do, says nothing of the run any more:
// a value that was logged once, a tensor that is captured no longer. It is forgotten once its sort
// came so often without it, or three times as often as between any two times that it was seen.
class SpoiledNames {
 public:
  // Before the rows of a batch.
  void Begin(const format::StepBatch& batch) {
    mode_ = static_cast<size_t>(batch.key.mode) % kModes;
    came_[mode_].tensors += batch.stats.empty() ? 0 : 1;
    came_[mode_].scalars += batch.scalars.empty() ? 0 : 1;
  }
  void SeeTensor(format::NameId id, bool is_finite) {
    See(id, is_finite, {.limit = kTensorLimit, .mode = mode_, .is_tensor = true});
  }
  void SeeScalar(format::NameId id, bool is_finite) {
    See(id, is_finite, {.limit = kScalarLimit, .mode = mode_, .is_tensor = false});
  }
  // After them: forgets what has not come for long.
  void End() {
    std::erase_if(spoiled_, [this](const auto& each) {
      const Name& name = names_[each.first];
      return CountOf(each.second) - name.last >
             std::max(each.second.limit, kIntervals * name.longest);
    });
  }
  [[nodiscard]] bool empty() const { return spoiled_.empty(); }

 private:
  static constexpr size_t kModes = 4;
  static constexpr int64_t kTensorLimit = 10;   // steps that captured some tensor
  static constexpr int64_t kScalarLimit = 100;  // steps at which something was logged
  static constexpr int64_t kIntervals = 3;

  struct Came {
    int64_t tensors = 0;
    int64_t scalars = 0;
  };
  struct Sort {
    int64_t limit;
    size_t mode;
    bool is_tensor;
  };
  struct Name {
    int64_t last = 0;     // how often its sort had come when it was seen; 0: never
    int64_t longest = 0;  // between two times that it was seen
  };

  [[nodiscard]] int64_t CountOf(const Sort& sort) const {
    return sort.is_tensor ? came_[sort.mode].tensors : came_[sort.mode].scalars;
  }
  void See(format::NameId id, bool is_finite, const Sort& sort) {
    Name& name = names_[id];
    const int64_t now = CountOf(sort);
    if (name.last > 0) {
      name.longest = std::max(name.longest, now - name.last);
    }
    name.last = now;
    if (is_finite) {
      spoiled_.erase(id);
    } else {
      spoiled_.insert_or_assign(id, sort);
    }
  }

  size_t mode_ = 0;
  std::array<Came, kModes> came_;
  std::unordered_map<format::NameId, Name> names_;
  std::unordered_map<format::NameId, Sort> spoiled_;
};

}  // namespace wheeltapper::rules
