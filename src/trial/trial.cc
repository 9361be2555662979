#include "wheeltapper/trial/trial.h"

namespace wheeltapper::trial {

Result<std::unique_ptr<Trial>> Trial::Open(const std::string& path) {
  WT_ASSIGN_OR_RETURN(const format::RunInfo info, format::ReadRunInfo(path));
  return UnimplementedError("opening a trial: " + info.name);
}

}  // namespace wheeltapper::trial
