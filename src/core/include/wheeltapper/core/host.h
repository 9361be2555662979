// Which machine this is, and which start of it.
#pragma once

#include <string>

namespace wheeltapper {

// "" where it has none.
std::string HostName();
// The same until the machine restarts, unlike for any other; "" where the kernel does not tell.
std::string BootId();

}  // namespace wheeltapper
