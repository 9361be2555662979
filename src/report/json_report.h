#pragma once

#include <string>

#include "report_data.h"

namespace wheeltapper::report {

// The whole report as JSON (docs/reference/report.md).
std::string JsonOf(const ReportData& data);

}  // namespace wheeltapper::report
