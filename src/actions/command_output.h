// What a command writes to its standard output and error: its end, for who is told that it failed.
#pragma once

#include <string>

#include "wheeltapper/core/file.h"
#include "wheeltapper/core/output_tail.h"
#include "wheeltapper/core/status.h"

namespace wheeltapper::actions {

// One pipe for both streams, in the order in which they were written. Reading never waits, so that
// a process that the command leaves behind delays nobody. One thread.
class CommandOutput {
 public:
  static constexpr size_t kMaxBytes = 4096;

  static Result<CommandOutput> Open();
  [[nodiscard]] int writing_end() const { return writing_.get(); }
  // The command has been started: its own copies remain.
  void CloseWritingEnd() { writing_.Close(); }
  // To wait for with poll; −1 once nobody can write any more.
  [[nodiscard]] int reading_end() const { return reading_.get(); }
  // Takes some of what there is; false when that was nothing.
  bool Read();
  // The command has ended: takes what it wrote, however much its children go on writing.
  void ReadRest();
  // The last kMaxBytes, as UTF-8: what is none becomes U+FFFD.
  [[nodiscard]] std::string Text() const { return tail_.Text(); }

 private:
  CommandOutput(FileDescriptor reading, FileDescriptor writing);

  FileDescriptor reading_;
  FileDescriptor writing_;
  OutputTail tail_{kMaxBytes};
};

}  // namespace wheeltapper::actions
