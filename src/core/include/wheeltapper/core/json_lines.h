// Files of one JSON object per line, which several processes append to and any of them may be
// killed over. A line counts once its newline is there, or once it parses; what else stands at the
// end is torn, and nothing was promised of it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper {

// Appends one line and fdatasyncs it; the file is made when it is not there. A torn end is cut off
// first: with a line behind it, it would be damage in the middle of the file. Waits for whoever
// else appends or cuts.
Status AppendJsonLine(const std::string& path, std::string_view line);

// The lines of a file, without their newlines and without a torn end; none when there is no file.
// ResourceExhausted when it has more than `max_bytes`. Takes no lock.
Result<std::vector<std::string>> ReadJsonLines(const std::string& path, uint64_t max_bytes);

// As AppendJsonLine, to a file that the caller has opened with O_RDWR | O_APPEND and flocked.
Status AppendJsonLineHeld(const FileDescriptor& file, std::string_view line);

// Cuts a torn end off, as the next line appended would; whether there was one. Waits as
// AppendJsonLine, so that no line that is being written is taken for torn.
Result<bool> CutTornLine(const std::string& path);

}  // namespace wheeltapper
