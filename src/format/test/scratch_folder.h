// A folder of its own for a test, removed afterwards.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace wheeltapper::format {

class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& where = "") {
    std::string pattern =
        (where.empty() ? std::filesystem::temp_directory_path().string() : where) +
        "/wt-format-XXXXXX";
    if (const char* made = mkdtemp(pattern.data())) {
      path_ = made;
    }
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace wheeltapper::format
