// Raw tensors as slices of mapped blobs.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/format/rows.h"
#include "wheeltapper/trial/trial.h"

namespace wheeltapper::trial {

// Not thread-safe. The bytes of a value stay readable as long as its owner lives, whatever becomes
// of the store, the file's name or the run.
class BlobStore {
 public:
  // Keeps at most `max_mapped` mappings itself (at least one).
  BlobStore(std::string run_dir, size_t max_mapped)
      : run_dir_(std::move(run_dir)), max_mapped_(max_mapped) {}

  // True when the row's bytes are in a blob, not inline in a journal file.
  static bool IsInBlob(const format::TensorRow& row);
  // The bytes of `row`, their CRC checked the first time. An open blob that has been finished since
  // is found under its new name. NotFound when the file is gone; DataLoss when it is too short, the
  // CRC is wrong, or the size does not fit dtype and shape.
  Result<TensorValue> Read(const format::TensorRow& row);

 private:
  struct Blob {
    MappedFile file;
    std::unordered_set<uint64_t> verified;  // offsets whose CRC was right
  };
  struct Entry {
    std::string name;
    std::shared_ptr<Blob> blob;
  };
  Result<std::shared_ptr<Blob>> Map(const std::string& name, uint64_t needed_bytes);

  std::string run_dir_;
  size_t max_mapped_;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<std::string, std::list<Entry>::iterator> index_;
};

// DataLoss when `row.nbytes` is not what its dtype and shape take.
Status CheckRowSize(const format::TensorRow& row);

}  // namespace wheeltapper::trial
