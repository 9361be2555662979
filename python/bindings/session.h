// The Python face of capture::Session.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nanobind/nanobind.h>

#include "wheeltapper/capture/session.h"

namespace wheeltapper::python {

// Keeps the session for ever: threads of the job are stopped by stop() from `atexit`, never by a
// destructor that might run while the interpreter goes down or in a forked child.
class NativeSession {
 public:
  explicit NativeSession(std::unique_ptr<capture::Session> session) : session_(session.release()) {}
  [[nodiscard]] capture::Session& get() const { return *session_; }

  // Scratch of the scalar calls, used with the GIL held.
  std::vector<capture::ScalarItem> scalars;

 private:
  capture::Session* session_;
};

void BindSession(nanobind::module_& m);

}  // namespace wheeltapper::python
