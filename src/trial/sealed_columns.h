// Column names of the sealed tables (docs/format/run-directory.md).
#pragma once

namespace wheeltapper::trial {

inline constexpr const char* kTensorColumn = "tensor";  // of stats and tensors
inline constexpr const char* kNameColumn = "name";      // of scalars
inline constexpr const char* kCollectionColumn = "collection";
inline constexpr const char* kStepColumn = "step";
inline constexpr const char* kModeColumn = "mode";
inline constexpr const char* kModeStepColumn = "mode_step";
inline constexpr const char* kTimeColumn = "time";
inline constexpr const char* kSeqColumn = "seq";
inline constexpr const char* kValueColumn = "value";
inline constexpr const char* kDTypeColumn = "dtype";
inline constexpr const char* kShapeColumn = "shape";
inline constexpr const char* kFileColumn = "file";
inline constexpr const char* kOffsetColumn = "offset";
inline constexpr const char* kNbytesColumn = "nbytes";
inline constexpr const char* kCrcColumn = "crc32c";

}  // namespace wheeltapper::trial
