#include "reduce.h"

#include <array>
#include <cstddef>
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

// In the order of the values that StatsToDict sets.
constexpr std::array kStatNames = {
    "numel",        "nan_count", "posinf_count", "neginf_count", "zero_count", "negative_count",
    "min",          "max",       "mean",         "sum",          "variance",   "std",
    "l1",           "l2",        "rms",          "abs_min",      "abs_max",    "abs_mean",
    "abs_variance", "abs_std",   "prod",
};

// A dict of all names, to copy: making 21 strings and growing a dict would take longer than the
// statistics of a small tensor. It lives as long as the interpreter.
struct StatsTemplate {
  StatsTemplate() {
    for (size_t i = 0; i < kStatNames.size(); ++i) {
      names[i] = PyUnicode_InternFromString(kStatNames[i]);
      if (names[i] == nullptr || PyDict_SetItem(dict, names[i], Py_None) != 0) {
        nb::raise_python_error();
      }
    }
  }
  PyObject* dict = nb::dict().release().ptr();
  std::array<PyObject*, kStatNames.size()> names{};
};

nb::dict StatsToDict(const tensor::TensorStats& stats, int ddof) {
  static const auto* const kTemplate = new StatsTemplate;  // NOLINT: never freed
  nb::dict out = nb::steal<nb::dict>(PyDict_Copy(kTemplate->dict));
  size_t next = 0;
  const auto set = [&](auto value) {
    const nb::object boxed = nb::cast(value);
    if (PyDict_SetItem(out.ptr(), kTemplate->names[next++], boxed.ptr()) != 0) {
      nb::raise_python_error();
    }
  };
  set(stats.numel);
  set(stats.nan_count);
  set(stats.posinf_count);
  set(stats.neginf_count);
  set(stats.zero_count);
  set(stats.negative_count);
  set(stats.min);
  set(stats.max);
  set(stats.mean);
  set(stats.sum());
  set(stats.variance(ddof));
  set(stats.std(ddof));
  set(stats.l1);
  set(stats.l2());
  set(stats.rms());
  set(stats.abs_min);
  set(stats.abs_max);
  set(stats.abs_mean());
  set(stats.abs_variance(ddof));
  set(stats.abs_std(ddof));
  set(stats.prod());
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

// One number per bin.
template <typename Value>
nb::object ColumnOf(const std::vector<tensor::HistogramBin>& bins, Value value) {
  auto list = nb::steal<nb::list>(PyList_New(static_cast<Py_ssize_t>(bins.size())));
  if (!list.is_valid()) {
    nb::raise_python_error();
  }
  Py_ssize_t at = 0;
  for (const tensor::HistogramBin& bin : bins) {
    PyList_SET_ITEM(list.ptr(), at++, nb::cast(value(bin)).release().ptr());
  }
  return list;
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
  using Bin = tensor::HistogramBin;
  nb::dict out;
  out["low"] = ColumnOf(bins, [](const Bin& bin) { return tensor::BinLow(bin.bin); });
  out["high"] = ColumnOf(bins, [](const Bin& bin) { return tensor::BinHigh(bin.bin); });
  out["count"] = ColumnOf(bins, [](const Bin& bin) { return bin.count; });
  for (const auto& [name, q] :
       {std::pair{"p01", 0.01}, std::pair{"p05", 0.05}, std::pair{"p25", 0.25},
        std::pair{"p50", 0.5}, std::pair{"p75", 0.75}, std::pair{"p95", 0.95},
        std::pair{"p99", 0.99}}) {
    out[name] = tensor::QuantileOfBins(bins, q);
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
