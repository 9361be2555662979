#include "reduce.h"

#include <memory>
#include <string>
#include <utility>
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

// Non-empty bins as columns low, high, count, and the quantiles p01 … p99 read from them.
nb::dict HistogramOf(nb::handle array) {
  ArrayView input;
  if (input.Read(array) != ViewState::kOk) {
    Raise(InvalidArgumentError(
        "counting an array: it is neither a CPU tensor nor a buffer of numbers: \"" +
        std::string(Py_TYPE(array.ptr())->tp_name) + "\""));
  }
  const auto histogram = std::make_unique<tensor::Histogram>();
  histogram->Add(input.view());
  std::vector<tensor::HistogramBin> bins(static_cast<size_t>(histogram->bins_used()));
  histogram->Sparse(bins);
  nb::list low;
  nb::list high;
  nb::list count;
  for (const tensor::HistogramBin& bin : bins) {
    low.append(tensor::BinLow(bin.bin));
    high.append(tensor::BinHigh(bin.bin));
    count.append(bin.count);
  }
  nb::dict out;
  out["low"] = low;
  out["high"] = high;
  out["count"] = count;
  for (const auto& [name, q] :
       {std::pair{"p01", 0.01}, std::pair{"p05", 0.05}, std::pair{"p25", 0.25},
        std::pair{"p50", 0.5}, std::pair{"p75", 0.75}, std::pair{"p95", 0.95},
        std::pair{"p99", 0.99}}) {
    out[name] = histogram->Quantile(q);
  }
  return out;
}

}  // namespace

void BindReduce(nb::module_& m) {
  m.def("reduce", &Reduce, nb::arg("array"), nb::kw_only(), nb::arg("product") = false,
        nb::arg("median") = false, nb::arg("ddof") = 0,
        "Every reduction of one array, by name, in one pass.");
  m.def("histogram", &HistogramOf, nb::arg("array"),
        "Log-linear histogram of one array (its non-empty bins) and seven quantiles.");
  m.def("kernel_target", &tensor::KernelTarget, "The instruction set the kernels run on.");
}

}  // namespace wheeltapper::python
