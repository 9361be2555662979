// A user's rule in Python, run in a child process of its own: `<python> -m wheeltapper._rule_host`.
//
// The watcher and the child exchange JSON lines over stdin and stdout:
//   → {"file": …, "class": …, "run": …, "parameters": {…}}         once
//   ← {"ready": true}                                              once
//     and "rules": ["CLASS"…] when "run" is "": all it was asked for
//   → {"step": 120}                                                one at a time
//   ← {"done": 120, "observations": [{"message", "tensor", "cause", "fix", "severity"}…]}
//     and "passed_over": "why" when the rule lacked something at this step: it says nothing about
//     it, and so resolves nothing either
//   ← {"error": "Traceback …"}                                     in place of any answer
// The child reads the run directory itself (`wheeltapper.open`).
//
// The child cannot hurt the job or the watcher: own session; address space, core file, file size
// and open files limited; no new privileges; no sockets, no processes, no signals to others
// (seccomp); the file system read-only but for a temporary folder of its own, and no way into other
// processes through /proc (Landlock); killed with the watcher; as user nobody when the watcher is
// root and nobody can read the run, else as a root that may only read. Reading is not restricted.
// docs/guide/custom-rules.md says what holds from which kernel. What this kernel does not offer is
// said by sandbox_note(). A crash, an exception, a hang or a broken answer makes the rule errored:
// never a finding. Nothing here blocks but Drain, which is bounded.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "wheeltapper/core/clock.h"
#include "wheeltapper/core/status.h"
#include "wheeltapper/rules/rule.h"

namespace wheeltapper::rules {

struct PythonRuleOptions {
  std::string interpreter;  // "" = DefaultPythonInterpreter()
  std::string file;         // "FILE.py:CLASS", or "FILE.py" where it holds one rule
  std::string run_dir;
  std::map<std::string, std::string> parameters;
  TimeNs deadline_ns = 5'000'000'000;  // for one step; starting may take kStartDeadlineNs
  int64_t memory_mb = 1024;
  std::string python_path;  // put in front of PYTHONPATH; "" = none
};

struct RuleFile {
  std::string path;
  std::string class_name;  // "" when none is named
};
// The parts of "FILE.py:CLASS" or "FILE.py"; neither is checked.
RuleFile SplitRuleFile(const std::string& text);

inline constexpr TimeNs kPythonStartDeadlineNs = 60'000'000'000;

// python3 beside the running program (the virtual environment it is installed in), else the first
// one on PATH that is a program and no wrapper script; "" when there is none.
std::string DefaultPythonInterpreter();

// The classes of the rules in options.file, in its order: it is run in the same sandbox, without a
// run. The errors of PythonRule::Start, and Internal for a file that cannot be loaded or has none.
Result<std::vector<std::string>> ListPythonRules(PythonRuleOptions options, const Clock& clock);

class PythonRule : public Rule {
 public:
  // NotFound for a missing file or interpreter; ResourceExhausted when no process can be made.
  static Result<std::unique_ptr<PythonRule>> Start(const PythonRuleOptions& options,
                                                   const Clock& clock);
  // Waits until every step given so far is answered, at most 12 deadlines (at least 60 s) in all.
  // DeadlineExceeded when steps are left then: the rule is slower than the run.
  virtual Status Drain(RuleContext& context) = 0;
  // What of the sandbox is not in force, "" when all is.
  [[nodiscard]] virtual const std::string& sandbox_note() const = 0;
  // Why every step so far was passed over; "" when one was looked at or none was asked.
  [[nodiscard]] virtual const std::string& passed_over() const = 0;
};

}  // namespace wheeltapper::rules
