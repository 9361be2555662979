// The end of the files that others append lines to, after a kill in the middle of a line.
#include <cerrno>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/json.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/run_reader.h"
#include "wheeltapper/format/watcher_lock.h"

#include "run_names.h"

namespace wheeltapper::format {
namespace {

Status CutTornLine(const std::string& path) {
  const Result<std::string> text = ReadWholeFile(path, kMaxTextBytes);
  if (!text.ok()) {
    return text.status().code() == StatusCode::kNotFound ? Status() : text.status();
  }
  const size_t begin = text->rfind('\n') + 1;  // 0 when there is no newline
  if (begin == text->size() || !ParseJson(std::string_view(*text).substr(begin)).is_discarded()) {
    return {};
  }
  WT_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_WRONLY));
  if (ftruncate(file.get(), static_cast<off_t>(begin)) != 0) {
    return ErrnoError(errno, "cutting a torn line off \"" + path + "\"");
  }
  return {};
}

}  // namespace

Status CutTornLines(const std::string& run_dir) {
  if (IsWatched(run_dir)) {
    return {};
  }
  WT_RETURN_IF_ERROR(CutTornLine(FindingsPath(run_dir)));
  return CutTornLine(ActionsPath(run_dir));
}

}  // namespace wheeltapper::format
