#include "reduce.h"

#include <string>
#include <vector>

#include "wheeltapper/tensor/sketch.h"
#include "wheeltapper/tensor/stats.h"

#include "array.h"
#include "status.h"

namespace wheeltapper::python {
namespace {

namespace nb = nanobind;

nb::dict StatsToDict(const tensor::TensorStats& stats, int ddof) {
  nb::dict out;
  out["numel"] = stats.numel;
  out["nan_count"] = stats.nan_count;
  out["posinf_count"] = stats.posinf_count;
  out["neginf_count"] = stats.neginf_count;
  out["zero_count"] = stats.zero_count;
  out["negative_count"] = stats.negative_count;
  out["min"] = stats.min;
  out["max"] = stats.max;
  out["mean"] = stats.mean;
  out["sum"] = stats.sum();
  out["variance"] = stats.variance(ddof);
  out["std"] = stats.std(ddof);
  out["l1"] = stats.l1;
  out["l2"] = stats.l2();
  out["rms"] = stats.rms();
  out["abs_min"] = stats.abs_min;
  out["abs_max"] = stats.abs_max;
  out["abs_mean"] = stats.abs_mean();
  out["abs_variance"] = stats.abs_variance(ddof);
  out["abs_std"] = stats.abs_std(ddof);
  out["prod"] = stats.prod();
  return out;
}

nb::dict Reduce(nb::handle array, bool product, bool median, int ddof) {
  ArrayView input;
  if (input.Read(array) != ViewState::kOk) {
    Raise(InvalidArgumentError(
        "reducing an array: it is neither a CPU tensor nor a buffer of numbers: \"" +
        std::string(Py_TYPE(array.ptr())->tp_name) + "\""));
  }
  // The GIL stays: the view borrows the array's memory.
  nb::dict out = StatsToDict(tensor::ComputeStats(input.view(), {.product = product}), ddof);
  if (median) {
    std::vector<uint8_t> scratch(tensor::MedianScratchBytes(input.view()));
    out["median"] = tensor::ExactMedian(input.view(), tensor::MedianKind::kMean, scratch);
  }
  return out;
}

}  // namespace

void BindReduce(nb::module_& m) {
  m.def("reduce", &Reduce, nb::arg("array"), nb::kw_only(), nb::arg("product") = false,
        nb::arg("median") = false, nb::arg("ddof") = 0,
        "Every reduction of one array, by name, in one pass.");
  m.def("kernel_target", &tensor::KernelTarget, "The instruction set the kernels run on.");
}

}  // namespace wheeltapper::python
