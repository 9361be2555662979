// The end of the files that others append lines to, after a kill in the middle of a line.
#include "wheeltapper/core/json_lines.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/format/trainings.h"
#include "wheeltapper/format/watcher_lock.h"

#include "run_names.h"

namespace wheeltapper::format {

Result<std::vector<std::string>> CutTornLines(const std::string& run_dir) {
  std::vector<std::string> files;
  if (IsSurelyWatched(run_dir)) {
    return files;
  }
  for (const std::string& path :
       {FindingsPath(run_dir), ActionsPath(run_dir), TrainingsPath(run_dir)}) {
    const Result<bool> cut = CutTornLine(path);
    if (cut.ok() && *cut) {
      files.push_back(RelativeTo(run_dir, path));
    } else if (!cut.ok() && cut.status().code() != StatusCode::kNotFound) {
      return cut.status();
    }
  }
  return files;
}

}  // namespace wheeltapper::format
