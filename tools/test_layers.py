"""The build refuses what the layering forbids: each test plants one fault in a small tree of modules.

The tree uses this project's own cmake/ and core headers, so a rule that stops working there fails
here. Needs cmake, ninja and clang++; takes a few seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILER = next((name for name in ("clang++-14", "clang++") if shutil.which(name)), "")

TOP = f"""
cmake_minimum_required(VERSION 3.25)
project(planted LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
set(WT_WERROR ON)
list(APPEND CMAKE_MODULE_PATH "{ROOT}/cmake")
include(WheeltapperWarnings)
include(WheeltapperSyntaxOnly)
include(WheeltapperModule)
foreach(module core tensor format)
  if(EXISTS ${{CMAKE_CURRENT_SOURCE_DIR}}/src/${{module}})
    add_subdirectory(src/${{module}})
  endif()
endforeach()
"""
CORE = "wheeltapper_module(core LAYER 0 HEADERS {headers} SOURCES core.cc)"
TENSOR = """wheeltapper_module(tensor LAYER 1 HEADERS include/wheeltapper/tensor/shape.h
  SOURCES shape.cc {deps})"""
SHAPE_H = '#pragma once\n#include "wheeltapper/core/status.h"\nnamespace wheeltapper { Status Check(); }\n'
SHAPE_CC = '#include "wheeltapper/tensor/shape.h"\nnamespace wheeltapper { Status Check() { return {}; } }\n'


class LayersTest(unittest.TestCase):
    """One healthy tree, and one fault at a time."""

    def setUp(self) -> None:
        if not COMPILER or not shutil.which("cmake") or not shutil.which("ninja"):
            self.skipTest("needs cmake, ninja and clang++ (./dev installs them)")
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        headers = ROOT / "src/core/include"
        shutil.copytree(headers, self.folder / "src/core/include")
        names = " ".join(str(path.relative_to(ROOT / "src/core")) for path in sorted(headers.rglob("*.h")))
        self.write("CMakeLists.txt", TOP)
        self.write("src/core/CMakeLists.txt", CORE.format(headers=names))
        self.write("src/core/core.cc", '#include "wheeltapper/core/status.h"\n')
        self.write("src/tensor/CMakeLists.txt", TENSOR.format(deps="DEPS core"))
        self.write("src/tensor/include/wheeltapper/tensor/shape.h", SHAPE_H)
        self.write("src/tensor/shape.cc", SHAPE_CC)

    def write(self, path: str, text: str) -> None:
        """Writes one file of the tree."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run_cmake(self, *arguments: str) -> tuple[int, str]:
        """Runs cmake in the tree; exit code and all output on one line, since CMake wraps its messages."""
        done = subprocess.run(
            ["cmake", *arguments], cwd=self.folder, env={**os.environ, "CXX": COMPILER},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def configure(self, *options: str) -> tuple[int, str]:
        """Configures the tree."""
        return self.run_cmake("-S", ".", "-B", "build", "-G", "Ninja", *options)

    def build(self, target: str = "wheeltapper_tensor") -> tuple[int, str]:
        """Configures, then builds one target."""
        code, output = self.configure()
        self.assertEqual(code, 0, output)
        return self.run_cmake("--build", "build", "--target", target)

    def assert_refused(self, outcome: tuple[int, str], part: str) -> None:
        """The build failed, and for the planted reason."""
        code, output = outcome
        self.assertNotEqual(code, 0, output)
        self.assertIn(part, output)

    def test_healthy_tree_builds_and_its_headers_stand_alone(self) -> None:
        code, output = self.build()
        self.assertEqual(code, 0, output)
        code, output = self.build("all_verify_interface_header_sets")
        self.assertEqual(code, 0, output)

    def test_dependency_on_a_higher_layer_stops_configuring(self) -> None:
        self.write("src/format/CMakeLists.txt", "wheeltapper_module(format LAYER 1 SOURCES f.cc DEPS tensor)")
        self.write("src/format/f.cc", "")
        self.assert_refused(self.configure(), "layering: 'format' (layer 1) may not depend on 'tensor' (layer 1)")

    def test_dependency_on_a_later_module_stops_configuring(self) -> None:
        self.write("src/tensor/CMakeLists.txt", TENSOR.format(deps="DEPS core format"))
        self.assert_refused(self.configure(), "'tensor' depends on 'format', which is no module or is declared after")

    def test_misspelt_argument_stops_configuring(self) -> None:
        # Behind LAYER's single value, an unknown word would otherwise be lost.
        self.write("src/tensor/CMakeLists.txt", "wheeltapper_module(tensor LAYER 1 DEP core SOURCES shape.cc)")
        self.assert_refused(self.configure(), "unknown arguments: DEP;core")

    def test_a_file_set_apart_that_is_none_of_the_module_stops_configuring(self) -> None:
        self.write("src/tensor/CMakeLists.txt", TENSOR.format(deps="DEPS core APART shapes.cc"))
        self.assert_refused(self.configure(), "module 'tensor': APART names 'shapes.cc', which is none of its sources")

    def test_module_without_layer_stops_configuring(self) -> None:
        self.write("src/tensor/CMakeLists.txt", "wheeltapper_module(tensor SOURCES shape.cc)")
        self.assert_refused(self.configure(), "declares no LAYER")

    def test_include_of_an_undeclared_module_does_not_compile(self) -> None:
        self.write("src/tensor/CMakeLists.txt", TENSOR.format(deps=""))
        self.assert_refused(self.build(), "'wheeltapper/core/status.h' file not found")

    def test_header_that_does_not_stand_alone_is_refused(self) -> None:
        self.write(
            "src/tensor/include/wheeltapper/tensor/shape.h",
            SHAPE_H.replace("Status Check();", "Status Check(); std::vector<int> Sizes();"),
        )
        self.write("src/tensor/shape.cc", "#include <vector>\n" + SHAPE_CC)
        self.assertEqual(self.build()[0], 0)
        self.assert_refused(self.build("all_verify_interface_header_sets"), "no template named 'vector'")

    def test_unguarded_read_of_a_guarded_field_does_not_compile(self) -> None:
        self.write(
            "src/tensor/shape.cc",
            SHAPE_CC + '#include "wheeltapper/core/mutex.h"\nnamespace wheeltapper {\nclass Count {\n'
            " public:\n  int Read() { return value_; }\n"
            "  int Locked() { MutexLock lock(mutex_); return value_; }\n private:\n"
            "  Mutex mutex_;\n  int value_ WT_GUARDED_BY(mutex_) = 0;\n};\n}\n",
        )
        outcome = self.build()
        self.assert_refused(outcome, "reading variable 'value_' requires holding mutex 'mutex_'")
        self.assertEqual(outcome[1].count("requires holding mutex"), 1)

    def test_a_missing_include_that_grouping_hides_is_seen_when_each_source_is_checked(self) -> None:
        self.write("src/tensor/CMakeLists.txt", TENSOR.format(deps="size.cc DEPS core"))
        self.write("src/tensor/shape.cc", "#include <vector>\n" + SHAPE_CC)
        self.write("src/tensor/size.cc", "static_assert(sizeof(std::vector<int>) > 0);\n")
        self.assertEqual(self.configure("-DCMAKE_UNITY_BUILD=ON")[0], 0)
        code, output = self.build()
        self.assertEqual(code, 0, output)
        self.assertEqual(self.configure("-DCMAKE_UNITY_BUILD=OFF", "-DWT_SYNTAX_ONLY=ON")[0], 0)
        self.assert_refused(self.build(), "size.cc:1:22: error: use of undeclared identifier 'std'")

    def test_checking_reads_again_what_changed_and_nothing_else(self) -> None:
        self.assertEqual(self.configure("-DWT_SYNTAX_ONLY=ON")[0], 0)
        code, output = self.build()
        self.assertEqual(code, 0, output)
        self.assertIn("no work to do", self.build()[1])
        self.write(
            "src/tensor/include/wheeltapper/tensor/shape.h", SHAPE_H.replace("Status Check();", "Status Check()")
        )
        self.assert_refused(self.build(), "expected function body after function declarator")
        # What failed is not taken as checked.
        self.assert_refused(self.build(), "expected function body after function declarator")

    def test_dropped_status_does_not_compile(self) -> None:
        self.write("src/tensor/shape.cc", SHAPE_CC + "namespace wheeltapper { static void Drop() { Check(); } }\n")
        self.assert_refused(self.build(), "ignoring return value of function declared with 'nodiscard'")

    def test_dropped_result_does_not_compile(self) -> None:
        self.write(
            "src/tensor/shape.cc",
            SHAPE_CC + "namespace wheeltapper { static Result<int> Half() { return 1; }\n"
            "static void Drop() { Half(); } }\n",
        )
        self.assert_refused(self.build(), "ignoring return value of function declared with 'nodiscard'")


if __name__ == "__main__":
    unittest.main()
