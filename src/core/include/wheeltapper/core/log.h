// Messages for the person at the terminal. The library prints nothing itself: lines go to a sink
// (stderr in the CLI, nothing inside a training job unless WHEELTAPPER_LOG is set). A disabled call
// costs one relaxed load.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace wheeltapper {

enum class LogLevel : uint8_t { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3, kOff = 4 };

using LogSink = std::function<void(LogLevel, std::string_view)>;

// Replaces sink and threshold. Thread-safe. An empty sink silences.
void SetLogSink(LogSink sink, LogLevel threshold);
[[nodiscard]] bool LogEnabled(LogLevel level);
// Sends one line (no newline) to the sink when `level` is enabled. Thread-safe. Never from the
// training thread.
void Log(LogLevel level, std::string_view line);

}  // namespace wheeltapper
