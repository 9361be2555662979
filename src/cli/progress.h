// How far a verb is that takes its time: one line on a terminal, gone when the work is done.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "wheeltapper/core/clock.h"

namespace wheeltapper::cli {

// "wheeltapper: checking swift-otter-12: 42 %". Appears after two seconds, is renewed five times a
// second and erased by the destructor. Single-threaded.
class Progress {
 public:
  using Write = std::function<void(std::string_view)>;

  // `what`: "checking swift-otter-12". An empty `write` shows nothing. `clock` outlives it.
  Progress(std::string what, Write write, const Clock& clock = SystemClock());
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  // Cheap enough for every row: most calls only look at the clock.
  void Show(int64_t done, int64_t total);           // as a share
  void Count(int64_t done, std::string_view noun);  // where the total is not known

 private:
  bool IsDue();
  void Print(const std::string& text);

  std::string what_;
  Write write_;
  const Clock& clock_;
  TimeNs due_ns_;
  size_t shown_ = 0;  // columns to erase
};

// Onto stderr when that is a terminal for people: no CI, TERM not "dumb", not `quiet`; else empty.
Progress::Write ProgressOutput(bool quiet);

}  // namespace wheeltapper::cli
