#include "update_size.h"

#include <algorithm>
#include <cmath>

namespace wheeltapper::rules {
namespace {

// Of Adam and its kin, as torch sets it.
constexpr double kEpsilonOfAdam = 1e-8;

// The distance from 1 to the next number of the dtype, and its least positive number.
struct Resolution {
  double epsilon = 0;
  double least = 0;
};

Resolution ResolutionOf(tensor::DType dtype) {
  switch (dtype) {
    case tensor::DType::kF64:
    case tensor::DType::kC128:
      return {.epsilon = std::exp2(-52), .least = std::exp2(-1074)};
    case tensor::DType::kF32:
    case tensor::DType::kC64:
      return {.epsilon = std::exp2(-23), .least = std::exp2(-149)};
    case tensor::DType::kF16:
      return {.epsilon = std::exp2(-10), .least = std::exp2(-24)};
    case tensor::DType::kBF16:
      return {.epsilon = std::exp2(-7), .least = std::exp2(-133)};
    case tensor::DType::kF8E4M3:
      return {.epsilon = std::exp2(-3), .least = std::exp2(-9)};
    case tensor::DType::kF8E5M2:
      return {.epsilon = std::exp2(-2), .least = std::exp2(-16)};
    default:  // whole numbers
      return {.epsilon = 0, .least = 1};
  }
}

}  // namespace

double LargestUpdate(std::string_view optimizer, double learning_rate, double largest_gradient) {
  const bool plain = optimizer == "SGD" || optimizer == "ASGD";
  return learning_rate *
         (plain ? largest_gradient : std::min(1.0, largest_gradient / kEpsilonOfAdam));
}

bool UpdateShows(double update, const format::StatsRow& weight) {
  const Resolution resolution = ResolutionOf(weight.dtype);
  return update > std::max(resolution.epsilon * weight.stats.rms(), resolution.least) / 2;
}

}  // namespace wheeltapper::rules
