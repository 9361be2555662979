// wheeltapper_golden_run FOLDER: writes the golden run of this format version into FOLDER/run, and
// what a reader must say of it into FOLDER/expected.txt. Run once per version; the result is kept
// for ever.
#include <iostream>
#include <string>

#include <fmt/format.h>

#include "wheeltapper/core/file.h"

#include "test/test_run.h"

int main(int argc, char** argv) {
  using namespace wheeltapper;          // NOLINT(google-build-using-namespace)
  using namespace wheeltapper::format;  // NOLINT(google-build-using-namespace)
  if (argc != 2) {
    std::cerr << "usage: wheeltapper_golden_run FOLDER\n";
    return 2;
  }
  const std::string folder = argv[1];
  const std::string run = folder + "/run";
  if (PathExists(run)) {
    std::cerr << "there is a golden run already; it is never written again: " << run << "\n";
    return 1;
  }
  Status status = WriteGoldenRun(run);
  if (status.ok()) {
    status = WriteFileAtomically(folder + "/expected.txt",
                                 fmt::format("{}\n", fmt::join(ReadRun(run).lines, "\n")));
  }
  if (!status.ok()) {
    std::cerr << status.ToString() << "\n";
    return 1;
  }
  return 0;
}
