// Builds a view (dtype, shape, strides, alignment, bytes) from the input and compares everything
// the module computes with the long double reference.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/tensor/sketch.h"
#include "wheeltapper/tensor/stats.h"

#include "bins.h"
#include "test/reference.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace wheeltapper::tensor {
namespace {

constexpr int64_t kMaxElements = 20'000;

void Require(bool holds, const std::string& what) {
  if (!holds) {
    (void)std::fprintf(stderr, "view_fuzz: %s\n", what.c_str());
    std::abort();
  }
}

struct Shape {
  std::vector<int64_t> extents;
  std::vector<int64_t> strides;
  int64_t first = 0;  // offset of element 0 from the lowest address
  int64_t span = 1;   // elements from the lowest address to the highest
};

Shape ReadShape(ByteReader* in) {
  Shape shape;
  const int ndim = in->Read<uint8_t>() % 5;
  int64_t numel = 1;
  for (int dim = 0; dim < ndim; ++dim) {
    const int64_t wanted = in->Read<uint16_t>() % 5000;
    const int64_t extent = std::min(wanted, kMaxElements / std::max(numel, int64_t{1}));
    const auto stride = static_cast<int64_t>(in->Read<int8_t>());
    numel *= extent;
    shape.extents.push_back(extent);
    shape.strides.push_back(stride);
    const int64_t reach = std::max(extent - 1, int64_t{0}) * stride;
    shape.first += reach < 0 ? -reach : 0;
    shape.span += std::abs(reach);
  }
  return shape;
}

// The rest of the input, repeated; a byte of it now and then changed so that not every period is
// alike.
std::vector<uint8_t> ReadElements(ByteReader* in, size_t nbytes) {
  const ByteSpan pattern = in->ReadSpan(in->remaining());
  std::vector<uint8_t> bytes(nbytes);
  for (size_t i = 0; i < nbytes && !pattern.empty(); ++i) {
    bytes[i] = static_cast<uint8_t>(pattern[i % pattern.size()] + (i / pattern.size() / 7));
  }
  return bytes;
}

void CheckStats(const TestTensor& tensor, const std::vector<long double>& values) {
  const ReferenceStats reference = ReferenceOf(values);
  const Tolerance tolerance = ToleranceFor(tensor.dtype);
  const TensorStats stats = ComputeStats(tensor.view(), {.product = true});
  std::string problem = Disagreement(stats, reference, tolerance);
  Require(problem.empty(), problem);

  const std::vector<uint8_t> expected = ReferenceBytes(tensor.view());
  std::vector<uint8_t> copy(expected.size());
  const TensorStats copied = CopyAndComputeStats(tensor.view(), copy.data(), {.product = true});
  Require(SameBits(copied, stats), "copying changes the statistics");
  Require(copy == expected, "copied bytes differ");
  std::fill(copy.begin(), copy.end(), uint8_t{0});
  CopyContiguous(tensor.view(), copy.data());
  Require(copy == expected, "CopyContiguous differs");
}

void CheckSketch(const TestTensor& tensor, std::vector<long double> values) {
  const auto histogram = std::make_unique<Histogram>();
  histogram->Add(tensor.view());
  Require(histogram->total() == static_cast<int64_t>(values.size()), "histogram loses elements");
  const auto end = std::remove_if(values.begin(), values.end(),
                                  [](long double value) { return std::isnan(value); });
  const auto nans = values.end() - end;
  values.erase(end, values.end());
  Require(histogram->count(kNaNBin) == nans, "histogram miscounts NaN");
  std::vector<uint8_t> scratch(MedianScratchBytes(tensor.view()));
  const double median = ExactMedian(tensor.view(), MedianKind::kLower, scratch);
  if (values.empty()) {
    Require(std::isnan(median) && std::isnan(histogram->Quantile(0.5)), "median of nothing");
    return;
  }
  std::sort(values.begin(), values.end());
  const long double exact = values[(values.size() - 1) / 2];
  const long double error = std::fabs(static_cast<long double>(median) - exact);
  Require(static_cast<double>(exact) == median ||
              error <= RoundingError(ToleranceFor(tensor.dtype).extreme, exact),
          "median is wrong");
  const auto from_sketch = static_cast<long double>(histogram->Quantile(0.5));
  const bool in_range = std::fabs(exact) < 3e38L && std::fabs(exact) > 1.2e-38L;
  Require(!in_range || std::fabs(from_sketch - exact) <= 0.032L * std::fabs(exact),
          "quantile is more than 3.2 % off");
}

void CheckSparseBins(ByteReader in) {
  std::vector<HistogramBin> bins;
  const auto histogram = std::make_unique<Histogram>();
  while (in.remaining() >= 10 && bins.size() < 1000) {
    const auto bin = in.Read<int16_t>();
    const auto count = in.Read<int64_t>();
    bins.push_back({bin, count});
    histogram->AddBin(bin, count % 1'000'000);
  }
  const double q = bins.empty() ? 0.5 : static_cast<double>(bins[0].bin) / 4096;
  (void)QuantileOfBins(bins, q);
  (void)histogram->Quantile(q);
  std::array<HistogramBin, 8> few{};
  Require(histogram->Sparse(few) == histogram->bins_used(), "Sparse and bins_used differ");
}

void CheckInput(ByteSpan input) {
  ByteReader in(input);
  CheckSparseBins(in);
  const auto dtype = static_cast<DType>(in.Read<uint8_t>() % kDTypeCount);
  const size_t shift = in.Read<uint8_t>() % 16;
  const Shape shape = ReadShape(&in);
  const size_t item_size = ItemSize(dtype);
  // Exactly as large as the view reaches, so that AddressSanitizer sees one byte too far.
  const std::vector<uint8_t> bytes =
      ReadElements(&in, static_cast<size_t>(shape.span) * item_size + shift);
  const TestTensor tensor{bytes.data() + shift + static_cast<size_t>(shape.first) * item_size,
                          dtype, shape.extents, shape.strides};
  const std::vector<long double> values = ReferenceValues(tensor.view());
  CheckStats(tensor, values);
  CheckSketch(tensor, values);
}

}  // namespace
}  // namespace wheeltapper::tensor

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  wheeltapper::tensor::CheckInput({data, size});
  return 0;
}
