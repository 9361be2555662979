// One function per verb; each returns the exit code.
#pragma once

#include "arguments.h"

namespace wheeltapper::cli {

int RunVerb(const Arguments& arguments);
int LsVerb(const Arguments& arguments);
int ShowVerb(const Arguments& arguments);
int FindingsVerb(const Arguments& arguments);
int ExplainVerb(const Arguments& arguments);
int CheckVerb(const Arguments& arguments);
int RulesVerb(const Arguments& arguments);
int ReportVerb(const Arguments& arguments);
int ExportVerb(const Arguments& arguments);
int FsckVerb(const Arguments& arguments);
int ConfigVerb(const Arguments& arguments);

}  // namespace wheeltapper::cli
