#include "parquet/utf8.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace wheeltapper::format::parquet {
namespace {

// Well-formed UTF-8 by the byte in front (Unicode 15, table 3-7). The bounds of the second byte
// keep out overlong forms, surrogates and what lies beyond U+10FFFF; every later byte is 80 … BF.
struct SequenceForm {
  uint8_t first_lead;
  uint8_t last_lead;
  uint8_t second_low;
  uint8_t second_high;
  size_t length;
};
constexpr std::array<SequenceForm, 9> kForms = {{
    {0x00, 0x7f, 0x00, 0x00, 1},
    {0xc2, 0xdf, 0x80, 0xbf, 2},
    {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3},
    {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4},
    {0xf4, 0xf4, 0x80, 0x8f, 4},
}};

// Length of the well-formed sequence at the start of `text`, which is not empty; 0 when there is
// none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const auto* form = std::find_if(kForms.begin(), kForms.end(), [&](const SequenceForm& candidate) {
    return byte(0) >= candidate.first_lead && byte(0) <= candidate.last_lead;
  });
  if (form == kForms.end() || form->length > text.size()) {
    return 0;
  }
  if (form->length > 1 && (byte(1) < form->second_low || byte(1) > form->second_high)) {
    return 0;
  }
  for (size_t i = 2; i < form->length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return 0;
    }
  }
  return form->length;
}

}  // namespace

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t n = SequenceLength(text);
    out.append(n == 0 ? std::string_view("\xef\xbf\xbd") : text.substr(0, n));
    text.remove_prefix(n == 0 ? 1 : n);
  }
  return out;
}

}  // namespace wheeltapper::format::parquet
