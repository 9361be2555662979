// The per-layer health table of the HTML report.
#pragma once

#include <string>

#include "report_data.h"

namespace wheeltapper::report {

// One table per collection (gradients, weights, biases, activations) with a sparkline a row; ""
// when there are no tensors.
std::string LayerTables(const ReportData& data);

}  // namespace wheeltapper::report
