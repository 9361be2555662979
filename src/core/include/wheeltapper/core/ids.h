// The strong ids of the glossary: a rank is never a bare int, a step never a bare long.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string_view>

namespace wheeltapper {

// One process of a job, 0-based, as in torch.distributed.
struct Rank {
  int32_t value = 0;
  auto operator<=>(const Rank&) const = default;
};

// Global step: the number of finished optimizer steps, first step = 0. One counter over all modes.
struct Step {
  int64_t value = 0;
  auto operator<=>(const Step&) const = default;
};

// What the job was doing at a step. kGlobal marks records that belong to no phase.
enum class Mode : uint8_t { kTrain = 0, kEval = 1, kPredict = 2, kGlobal = 3 };

constexpr std::string_view ModeName(Mode mode) {
  switch (mode) {
    case Mode::kTrain:
      return "train";
    case Mode::kEval:
      return "eval";
    case Mode::kPredict:
      return "predict";
    case Mode::kGlobal:
      return "global";
  }
  return "global";
}

constexpr std::optional<Mode> ModeFromName(std::string_view name) {
  for (Mode mode : {Mode::kTrain, Mode::kEval, Mode::kPredict, Mode::kGlobal}) {
    if (ModeName(mode) == name) {
      return mode;
    }
  }
  return std::nullopt;
}

}  // namespace wheeltapper
