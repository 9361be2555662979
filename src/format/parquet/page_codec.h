// Pages as they lie in the file: compressed by zstd, checked by CRC-32.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "wheeltapper/core/bytes.h"
#include "wheeltapper/core/status.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace wheeltapper::format::parquet {

// CRC-32 as in gzip (polynomial 0x04C11DB7, reflected), the one of Parquet's page headers.
uint32_t PageCrc(ByteSpan bytes);

// Where a page's body changes its nature: after `head` bytes, then every `plane` bytes (0:
// nowhere).
struct PageCuts {
  size_t head = 0;
  size_t plane = 0;
};

// Not thread-safe.
class PageCompressor {
 public:
  explicit PageCompressor(int zstd_level);
  ~PageCompressor();
  PageCompressor(const PageCompressor&) = delete;
  PageCompressor& operator=(const PageCompressor&) = delete;

  // Appends one zstd frame that holds `body`. At each cut a new zstd block starts, so that every
  // byte plane gets an entropy table of its own; blocks of 128 KiB that span planes of different
  // nature cost a tenth of the size.
  Status Compress(ByteSpan body, PageCuts cuts, std::vector<uint8_t>* out);

 private:
  std::unique_ptr<ZSTD_CCtx_s, size_t (*)(ZSTD_CCtx_s*)> context_;
};

// Not thread-safe.
class PageDecompressor {
 public:
  PageDecompressor();
  ~PageDecompressor();
  PageDecompressor(const PageDecompressor&) = delete;
  PageDecompressor& operator=(const PageDecompressor&) = delete;

  // Decompresses one frame of exactly `nbytes`; DataLoss otherwise, also when no frame of this
  // length could hold that much, which is found before anything is allocated. The span lives until
  // the next call.
  Result<ByteSpan> Decompress(ByteSpan frame, size_t nbytes);

 private:
  std::unique_ptr<ZSTD_DCtx_s, size_t (*)(ZSTD_DCtx_s*)> context_;
  std::vector<uint8_t> buffer_;
};

}  // namespace wheeltapper::format::parquet
