// The only way in which tests, fuzzers and benchmarks write files.
#pragma once

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

#include <stdlib.h>  // NOLINT: mkdtemp is POSIX

namespace wheeltapper {

// An empty folder of its own, readable by this user only, in $TMPDIR (or /tmp); removed with all
// that is in it by the destructor. A process that is killed leaves it. Throws when it cannot be
// made, which fails the test at hand. As a member it stands before what uses its files.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "wheeltapper-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) {
      throw std::filesystem::filesystem_error("making a scratch folder", pattern,
                                              {errno, std::generic_category()});
    }
    path_ = pattern;
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::string& path() const { return path_; }
  // The path of a file in it, which need not be there yet.
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace wheeltapper
