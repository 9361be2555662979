// NumPy's .npz: a zip archive of .npy members (numpy.lib.format 1.0), stored without compression.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/tensor/dtype.h"

namespace wheeltapper::cli {

// Writes members one after the other; Finish adds the zip directory. The file appears under its
// name only then. Members and archives of 4 GiB and more use the zip64 extensions.
class NpzWriter {
 public:
  static Result<NpzWriter> Create(const std::string& path);
  // `name` without ".npy". bfloat16 and float8 have no NumPy type: they are stored as uint16 and
  // uint8, bit for bit.
  Status Add(const std::string& name, tensor::DType dtype, const std::vector<int64_t>& shape,
             ByteSpan data);
  Status Finish();

 private:
  struct Member {
    std::string name;
    uint32_t crc;
    uint64_t nbytes;
    uint64_t offset;
  };
  NpzWriter(std::string path, FileDescriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}
  Status Append(ByteSpan bytes);
  Status Close(const ByteWriter& out);

  std::string path_;
  FileDescriptor file_;
  uint64_t offset_ = 0;
  std::vector<Member> members_;
};

}  // namespace wheeltapper::cli
