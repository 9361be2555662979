#pragma once

#include <cstdint>
#include <string>

namespace wheeltapper::cli {

// A name people can say: "swift-otter-12", from 48 adjectives, 48 animals and a number below 100.
std::string MakeRunName(uint64_t random);

}  // namespace wheeltapper::cli
