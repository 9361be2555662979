// Rules in Python, each in a real child process. The package they import is a small stand-in for
// `wheeltapper` around the real rules.py and _rule_host.py, so that no extension has to be built.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "wheeltapper/rules/python_rules.h"

#include "run_fixture.h"
#include "support/scratch_folder.h"

namespace wheeltapper::rules {

class CollectedContext final : public RuleContext {
 public:
  [[nodiscard]] const format::NameTable& names() const override { return names_; }
  void Observe(Observation observation) override { observations.push_back(std::move(observation)); }
  void Clear(const std::string& /*cause_key*/, const format::StepKey& key) override {
    cleared.push_back(key.step.value);
  }
  void Hold(const std::string& /*cause_key*/, const format::StepKey& /*key*/) override {}
  std::vector<Observation> observations;
  std::vector<int64_t> cleared;

 private:
  format::NameTable names_;
};

class PythonRuleTest : public testing::Test {
 protected:
  void SetUp() override {
    if (DefaultPythonInterpreter().empty()) {
      GTEST_SKIP() << "no python3 here";
    }
    const std::filesystem::path package = folder_ / "path" / "wheeltapper";
    std::filesystem::create_directories(package);
    std::filesystem::create_directories(folder_ / "run");
    std::ofstream(package / "__init__.py") << "from wheeltapper.rules import Rule\n"
                                              "class _Trial:\n"
                                              "    def __init__(self, path): self.path = path\n"
                                              "    def refresh(self): pass\n"
                                              "def open(path): return _Trial(path)\n";
    for (const char* file : {"rules.py", "_rule_host.py", "errors.py"}) {
      std::filesystem::copy_file(
          std::filesystem::path(WT_SOURCE_DIR) / "python" / "wheeltapper" / file, package / file);
    }
    chmod(folder_.c_str(), 0755);  // the sandbox may run as another user
  }

  // A class R whose invoke_at_step has this body (four spaces of indentation are added).
  std::string Rule(const std::string& body) const {
    std::ofstream file(folder_ / "rule.py");
    file << "import os, socket, sys, wheeltapper\n"
            "class R(wheeltapper.Rule):\n"
            "    def __init__(self, base_trial, limit=3):\n"
            "        super().__init__(base_trial)\n"
            "        self.limit = limit\n"
            "    def invoke_at_step(self, step):\n";
    std::istringstream lines(body);
    for (std::string line; std::getline(lines, line);) {
      file << "        " << line << "\n";
    }
    return (folder_ / "rule.py").string() + ":R";
  }

  Result<std::unique_ptr<PythonRule>> Start(const std::string& file,
                                            std::map<std::string, std::string> parameters = {}) {
    PythonRuleOptions options;
    options.file = file;
    options.run_dir = (folder_ / "run").string();
    options.parameters = std::move(parameters);
    options.deadline_ns = deadline_ns_;
    options.memory_mb = 512;
    options.python_path = (folder_ / "path").string();
    return PythonRule::Start(options, SystemClock());
  }

  // Runs the rule over `steps` steps and waits for its answers.
  Status RunOver(const std::string& file, int64_t steps,
                 const std::map<std::string, std::string>& parameters = {}) {
    auto rule = Start(file, parameters);
    if (!rule.ok()) {
      return rule.status();
    }
    RunBuilder run;
    for (int64_t step = 0; step < steps; ++step) {
      run.Step(step);
    }
    for (const format::StepBatch& batch : run.batches()) {
      WT_RETURN_IF_ERROR((*rule)->OnBatch(batch, context_));
    }
    return (*rule)->Drain(context_);
  }

  // The error of a rule whose one step has this body.
  std::string ErrorOf(const std::string& body) {
    const Status status = RunOver(Rule(body), 1);
    EXPECT_FALSE(status.ok()) << "no error";
    EXPECT_TRUE(context_.observations.empty());
    return status.message();
  }

  // One system call, written as Python; `arguments` "getpid, 0" may name the rule's own process.
  struct Attempt {
    std::string name;
    int64_t call;
    std::string arguments;
  };

  // The names of those that do not answer EPERM.
  std::string NotRefused(const std::vector<Attempt>& attempts) {
    std::string body =
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "libc.syscall.restype = ctypes.c_long\n"
        "me, other = os.getpid(), 1 << 22\n"  // no process has this id: more than pid_max
        "refused = []\n"
        "def attempt(name, *args):\n"
        "    ctypes.set_errno(0)\n"
        "    answer = libc.syscall(*[ctypes.c_long(arg) for arg in args])\n"
        "    if answer != -1 or ctypes.get_errno() != 1:\n"
        "        refused.append(f'{name}={answer},{ctypes.get_errno()}')\n";
    for (const Attempt& attempt : attempts) {
      body += "attempt('" + attempt.name + "', " + std::to_string(attempt.call) + ", " +
              attempt.arguments + ")\n";
    }
    context_.observations.clear();
    const Status status = RunOver(Rule(body + "return ' '.join(refused)\n"), 1);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return context_.observations.empty() ? "" : context_.observations[0].message;
  }

  ScratchFolder scratch_;
  const std::filesystem::path folder_ = scratch_.path();
  CollectedContext context_;
  TimeNs deadline_ns_ = 60'000'000'000;
};

}  // namespace wheeltapper::rules
