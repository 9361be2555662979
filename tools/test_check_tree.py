"""Each check of check_tree.py sees its planted fault and leaves the healthy twin alone."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import check_tree

ARCHITECTURE = """# Map
| L | module | depends on | holds |
|---|---|---|---|
| 0 | [core](src/core/README.md) | – | x |
| 1 | [tensor](src/tensor/README.md) | core | x |
"""
HEALTHY = {
    "ARCHITECTURE.md": ARCHITECTURE,
    "src/core/CMakeLists.txt": "wheeltapper_module(core LAYER 0 HEADERS a.h SOURCES a.cc)",
    "src/core/README.md": "See [the map](../../ARCHITECTURE.md#L2).\n",
    "src/core/a.cc": '#include "wheeltapper/core/a.h"\nint A();  // printf("x"), std::mutex, /* now() */\n',
    "src/core/include/wheeltapper/core/a.h": "#pragma once\n",
    "src/tensor/CMakeLists.txt": "wheeltapper_module(tensor LAYER 1 SOURCES b.cc PRIVATE_DEPS core)",
    "src/tensor/README.md": "x\n",
    "src/tensor/b.cc": '#include "wheeltapper/core/a.h"\n',
}
MARK = "TO" + "DO"
WORK = "/wo" + "rk/main/x"

# check, path, content, part of the message
FAULTS: tuple[tuple[str, str, str, str], ...] = (
    ("fence", "src/core/b.cc", "#include <torch/torch.h>\n", "src/torch"),
    ("fence", "src/core/b.cc", "#include <ATen/Tensor.h>\n", "src/torch"),
    ("fence", "src/core/b.cc", "#include <c10/core/Device.h>\n", "src/torch"),
    ("fence", "python/bindings/b.cc", "#include <pybind11/pybind11.h>\n", "src/torch"),
    ("fence", "src/core/b.cc", "#include <nanobind/nanobind.h>\n", "python/bindings"),
    ("fence", "src/core/b.cc", "#include <Python.h>\n", "python/bindings"),
    ("fence", "src/core/b.cc", "#include <curl/curl.h>\n", "src/actions"),
    ("fence", "src/core/b.cc", "#include <toml++/toml.h>\n", "config.h"),
    ("fence", "src/core/b.cc", "#include <pcre2.h>\n", "regex.h"),
    ("fence", "src/tensor/c.cc", "#include <isa-l/crc.h>\n", "crc32c.h"),
    ("fence", "src/core/b.h", "#include <nlohmann/json.hpp>\n", ".cc"),
    ("fence", "src/core/b.cc", "#include <CLI/CLI.hpp>\n", "CLI11"),
    ("banned call", "src/core/b.cc", 'void F() { std::printf("x"); }\n', "libraries print nothing"),
    ("banned call", "src/core/b.cc", 'void F() { puts("x"); }\n', "libraries print nothing"),
    ("banned call", "src/core/b.cc", 'void F() { std::cout << "x"; }\n', "libraries print nothing"),
    ("banned call", "src/core/b.cc", "void F() { std::abort(); }\n", "return a Status"),
    ("banned call", "src/core/b.cc", "void F() { exit(1); }\n", "return a Status"),
    ("banned call", "src/core/b.cc", "void F() {\n  std::exit(3);\n}\n", "return a Status"),
    ("banned call", "src/core/b.cc", "void F() { _exit(1); }\n", "forked child"),
    ("banned call", "src/core/b.cc", "std::thread t;\n", "thread.h"),
    ("banned call", "src/core/b.cc", "std::jthread t;\n", "thread.h"),
    ("banned call", "src/core/b.cc", "void F() { t.detach(); }\n", "joins it"),
    ("banned call", "src/core/b.cc", "auto t = std::chrono::steady_clock::now();\n", "Clock"),
    ("banned call", "src/core/b.cc", "auto t = time(nullptr);\n", "Clock"),
    ("banned call", "src/core/b.cc", 'auto t = std::getenv("HOME");\n', "env.h"),
    ("banned call", "src/core/b.cc", "std::regex r;\n", "regex.h"),
    ("banned call", "src/core/b.cc", "#include <regex>\n", "regex.h"),
    ("banned call", "src/core/b.cc", "std::mutex m;\n", "mutex.h"),
    ("banned call", "src/core/b.cc", "std::shared_mutex m;\n", "mutex.h"),
    ("sleep", "src/core/test/b_test.cc", "void F() { std::this_thread::sleep_for(x); }\n", "ManualClock"),
    ("sleep", "tests/e2e/b.cc", "void F() { usleep(5); }\n", "ManualClock"),
    ("scratch", "src/core/test/b_test.cc", "auto p = testing::TempDir() + getpid();\n", "ScratchFolder"),
    ("scratch", "src/core/bench/b.cc", "mkdtemp(pattern.data());\n", "ScratchFolder"),
    ("vague name", "src/core/string_utils.cc", "", "name the file"),
    ("vague name", "python/wheeltapper/helpers.py", "", "name the file"),
    ("vague name", "src/core/misc/b.cc", "", "name the folder"),
    ("vague name", "src/core/b.h", "class RunManager {};\n", "RunManager"),
    ("length", "src/core/b.cc", "\n" * 501, "limit is 500"),
    ("length", "src/core/b.h", "\n" * 301, "limit is 300"),
    ("length", "src/core/test/b_test.cc", "\n" * 801, "limit is 800"),
    ("length", "python/wheeltapper/b.py", "\n" * 401, "limit is 400"),
    ("unfinished", "src/core/b.cc", f"// {MARK}: later\n", "finish it"),
    ("unfinished", "python/wheeltapper/b.py", f"# {MARK} later\n", "finish it"),
    ("include", "src/core/b.cc", '#include "wheeltapper/tensor/b.h"\n', "tensor is not declared"),
    (
        "include",
        "src/tensor/include/wheeltapper/tensor/b.h",
        '#include "wheeltapper/core/a.h"\n',
        "add it to DEPS",
    ),
    ("architecture", "src/format/CMakeLists.txt", "wheeltapper_module(format LAYER 2)", "format is missing"),
    ("architecture", "ARCHITECTURE.md", ARCHITECTURE.replace("| 1 |", "| 2 |"), "out of date"),
    ("architecture", "ARCHITECTURE.md", ARCHITECTURE.replace("| core |", "| – |"), "out of date"),
    (
        "architecture",
        "ARCHITECTURE.md",
        ARCHITECTURE + "| 3 | [gone](src/gone/README.md) | core | x |\n",
        "gone is gone",
    ),
    ("link", "docs/a.md", "See [b](b.md).\n", "b.md does not exist"),
    ("link", "docs/a.md", "See [b](../src/core/a.cc#L99).\n", "shorter"),
    ("machine path", "docs/a.md", f"Lies in {WORK}\n", "relative"),
    ("machine path", "dev", f'cd "{WORK}"\n', "relative"),
)

# path, content: near a fault, but right
ALLOWED: tuple[tuple[str, str], ...] = (
    ("src/torch/a.cc", "#include <torch/csrc/utils/pybind.h>\n#include <pybind11/pybind11.h>\n"),
    ("python/bindings/a.cc", "#include <nanobind/nanobind.h>\n#include <Python.h>\n"),
    ("src/actions/http.cc", "#include <curl/curl.h>\n"),
    ("src/cli/args.cc", "#include <CLI/CLI.hpp>\n"),
    ("src/cli/main.cc", 'int main() { std::fputs("x", stdout); std::exit(3); }\n'),
    ("src/core/b.cc", "auto n = std::thread::hardware_concurrency(); auto s = std::snprintf(b, 3, f);\n"),
    ("src/core/b.cc", "const JobExit& exit() const; void F() { job->exit(); clock.now_ns(); }\n"),
    ("src/core/b.cc", "void F() { const FileDescriptor exit(Open(3)); }\n"),
    ("src/core/b.cc", '/* std::mutex\n std::regex */ auto s = R"(std::cout)"; auto c = "abort()";\n'),
    ("src/core/test/b_test.cc", 'TEST(A, B) { setenv("X", "1", 1); std::thread t; }\n'),
    ("src/core/b.cc", f"// {MARK}(#12): after the format is fixed\n"),
    ("docs/commonplace.md", "See [a](https://example.org/x) and [b](#here) and `[c](d)`.\n"),
    ("docs/a.md", "```\n[x](nowhere.md)\n```\n"),
)


def problems_of(files: dict[str, str], *, git: bool = False) -> list[check_tree.Problem]:
    """Runs all checks over a tree made of `files`."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if git:
            subprocess.run(["git", "init", "-q", folder], check=True)
        tree = check_tree.Tree.load(Path(folder))
        return [problem for check in check_tree.CHECKS for problem in check(tree)]


class CheckTreeTest(unittest.TestCase):
    """Planted faults and healthy twins."""

    def test_healthy_tree_has_no_problem(self) -> None:
        self.assertEqual(problems_of(HEALTHY), [])

    def test_every_planted_fault_is_seen_where_it_is(self) -> None:
        for check, path, content, part in FAULTS:
            with self.subTest(check=check, path=path, content=content[:60]):
                found = problems_of({**HEALTHY, path: content})
                # A row for a module that is gone is also a dead link.
                self.assertEqual({problem.check for problem in found} - {"link"}, {check} - {"link"})
                self.assertIn(check, {problem.check for problem in found})
                self.assertTrue(any(part in problem.text for problem in found), found)
                where = {problem.path for problem in found}
                self.assertTrue(any(path.startswith(place) or check == "architecture" for place in where), where)

    def test_every_check_has_a_planted_fault(self) -> None:
        planted = {fault[0] for fault in FAULTS}
        self.assertEqual(len(planted), len(check_tree.CHECKS))

    def test_what_is_right_passes(self) -> None:
        for path, content in ALLOWED:
            with self.subTest(path=path, content=content[:60]):
                self.assertEqual(problems_of({**HEALTHY, path: content}), [])

    def test_two_files_with_cli11_are_one_too_many(self) -> None:
        found = problems_of(
            {
                **HEALTHY,
                "src/cli/a.cc": "#include <CLI/CLI.hpp>\n",
                "src/cli/b.cc": "#include <CLI/App.hpp>\n",
            }
        )
        self.assertEqual([problem.path for problem in found], ["src/cli/a.cc", "src/cli/b.cc"])

    def test_missing_readme_and_missing_map_are_seen(self) -> None:
        without_readme = {name: text for name, text in HEALTHY.items() if name != "src/tensor/README.md"}
        self.assertIn("has no README", " ".join(map(str, problems_of(without_readme))))
        without_map = {name: text for name, text in HEALTHY.items() if name != "ARCHITECTURE.md"}
        self.assertIn("the file is missing", " ".join(map(str, problems_of(without_map))))

    def test_ignored_files_are_not_checked_but_new_ones_are(self) -> None:
        files = {
            **HEALTHY,
            ".gitignore": "/build/\n",
            "build/x.cc": "std::mutex m;\n",
            "src/core/x.cc": "std::mutex m;\n",
        }
        self.assertEqual([problem.path for problem in problems_of(files, git=True)], ["src/core/x.cc"])

    def test_an_exception_without_its_file_is_a_problem(self) -> None:
        check_tree.LONGER["src/core/gone.cc"] = (900, "a table")
        try:
            self.assertEqual([problem.check for problem in problems_of(HEALTHY)], ["length"])
        finally:
            del check_tree.LONGER["src/core/gone.cc"]


if __name__ == "__main__":
    unittest.main()
