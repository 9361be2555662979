#include "wheeltapper/core/log.h"

#include <atomic>
#include <memory>
#include <utility>

#include "wheeltapper/core/mutex.h"

namespace wheeltapper {
namespace {

struct LogState {
  std::atomic<LogLevel> threshold{LogLevel::kOff};
  Mutex mutex;
  std::shared_ptr<const LogSink> sink WT_GUARDED_BY(mutex);
};

LogState& State() {
  // Leaked on purpose: threads may still log while the process exits.
  static auto* const kState = new LogState();  // NOLINT(cppcoreguidelines-owning-memory)
  return *kState;
}

}  // namespace

void SetLogSink(LogSink sink, LogLevel threshold) {
  LogState& state = State();
  const bool silent = !sink;
  {
    MutexLock lock(state.mutex);
    state.sink = std::make_shared<const LogSink>(std::move(sink));
  }
  state.threshold.store(silent ? LogLevel::kOff : threshold, std::memory_order_relaxed);
}

bool LogEnabled(LogLevel level) {
  return level != LogLevel::kOff && level >= State().threshold.load(std::memory_order_relaxed);
}

void Log(LogLevel level, std::string_view line) {
  if (!LogEnabled(level)) {
    return;
  }
  LogState& state = State();
  std::shared_ptr<const LogSink> sink;
  {
    MutexLock lock(state.mutex);
    sink = state.sink;
  }
  if (sink && *sink) {
    (*sink)(level, line);
  }
}

}  // namespace wheeltapper
