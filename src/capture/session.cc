#include "wheeltapper/capture/session.h"

#include "plan.h"

namespace wheeltapper::capture {

Result<std::unique_ptr<Session>> Session::Start(const SessionOptions& options, const Config& config,
                                                const Clock& /*clock*/) {
  WT_ASSIGN_OR_RETURN(const CapturePlan plan, CapturePlan::Create(config));
  return UnimplementedError("starting capture: the writer is not linked in yet: \"" +
                            options.run_dir + "\"");
}

}  // namespace wheeltapper::capture
