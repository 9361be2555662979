// Any bytes as run.json, a rank's file, END and trainings.jsonl: an error or a value, never a
// crash.
#include <cstddef>
#include <cstdint>
#include <string>

#include <fcntl.h>

#include "wheeltapper/core/file.h"
#include "wheeltapper/format/run_directory.h"
#include "wheeltapper/format/trainings.h"

#include "support/scratch_folder.h"

namespace {

// One folder per process, removed when it exits.
const std::string& Folder() {
  static const wheeltapper::ScratchFolder kFolder;
  return kFolder.path();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wheeltapper;          // NOLINT(google-build-using-namespace)
  using namespace wheeltapper::format;  // NOLINT(google-build-using-namespace)
  const std::string_view text = AsText({data, size});
  if (!MakeDirectories(Folder() + "/ranks").ok()) {
    return 0;
  }
  for (const std::string& path : {RunInfoPath(Folder()), RankInfoPath(Folder(), Rank{0}),
                                  EndPath(Folder()), TrainingsPath(Folder())}) {
    const Result<FileDescriptor> file = OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.ok() || !WriteAll(*file, AsBytes(text)).ok()) {
      return 0;
    }
  }
  (void)ReadRunInfo(Folder());
  (void)ReadRankInfo(Folder(), Rank{0});
  (void)ReadEnd(Folder());
  (void)ListTrainings(Folder());
  return 0;
}
