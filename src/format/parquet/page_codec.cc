#include "parquet/page_codec.h"

#include <algorithm>
#include <string>

#include <isa-l/crc.h>
#include <zstd.h>

namespace wheeltapper::format::parquet {
namespace {

// Below this a table per plane costs more than it saves.
constexpr size_t kMinPlaneBytes = 2048;
// A zstd block holds at most 128 KiB and takes 4 bytes at least (RFC 8878).
constexpr size_t kMaxBlockBytes = size_t{1} << 17;
constexpr size_t kMinStoredBlockBytes = 4;

Status CodecError(const char* what, size_t code) {
  return InternalError(std::string(what) + ": " + ZSTD_getErrorName(code));
}

}  // namespace

uint32_t PageCrc(ByteSpan bytes) { return crc32_gzip_refl(0, bytes.data(), bytes.size()); }

PageCompressor::PageCompressor(int zstd_level) : context_(ZSTD_createCCtx(), &ZSTD_freeCCtx) {
  if (context_ != nullptr) {
    (void)ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, zstd_level);
  }
}
PageCompressor::~PageCompressor() = default;

Status PageCompressor::Compress(ByteSpan body, PageCuts cuts, std::vector<uint8_t>* out) {
  if (context_ == nullptr) {
    return ResourceExhaustedError("compressing page: no memory for zstd");
  }
  (void)ZSTD_CCtx_reset(context_.get(), ZSTD_reset_session_only);
  (void)ZSTD_CCtx_setPledgedSrcSize(context_.get(), body.size());
  const bool planes = cuts.plane >= kMinPlaneBytes;
  const size_t blocks = planes ? body.size() / cuts.plane + 2 : 1;
  const size_t start = out->size();
  // A flushed block costs at most its header on top of the bound for the whole.
  out->resize(start + ZSTD_compressBound(body.size()) + blocks * 16);
  ZSTD_outBuffer to{out->data() + start, out->size() - start, 0};
  size_t done = 0;
  do {
    size_t next = body.size();
    if (planes) {
      next = std::min(next, done < cuts.head ? cuts.head : done + cuts.plane);
    }
    ZSTD_inBuffer from{body.data() + done, next - done, 0};
    const auto mode = next == body.size() ? ZSTD_e_end : ZSTD_e_flush;
    const size_t left = ZSTD_compressStream2(context_.get(), &to, &from, mode);
    if (ZSTD_isError(left) != 0 || left != 0) {
      return CodecError("compressing page", left);
    }
    done = next;
  } while (done < body.size());
  out->resize(start + to.pos);
  return {};
}

PageDecompressor::PageDecompressor() : context_(ZSTD_createDCtx(), &ZSTD_freeDCtx) {}
PageDecompressor::~PageDecompressor() = default;

Result<ByteSpan> PageDecompressor::Decompress(ByteSpan frame, size_t nbytes) {
  if (context_ == nullptr) {
    return ResourceExhaustedError("decompressing page: no memory for zstd");
  }
  if (nbytes / kMaxBlockBytes > frame.size() / kMinStoredBlockBytes ||
      ZSTD_getFrameContentSize(frame.data(), frame.size()) != nbytes) {
    return DataLossError("decompressing page: its header and its zstd frame disagree");
  }
  if (buffer_.size() < nbytes) {
    buffer_.resize(nbytes);
  }
  const size_t got =
      ZSTD_decompressDCtx(context_.get(), buffer_.data(), nbytes, frame.data(), frame.size());
  if (ZSTD_isError(got) != 0 || got != nbytes) {
    return DataLossError("decompressing page: the zstd frame is damaged");
  }
  return ByteSpan(buffer_.data(), nbytes);
}

}  // namespace wheeltapper::format::parquet
