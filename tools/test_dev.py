"""./dev explains itself, refuses what it does not know, and counts what it ran."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools/dev"))
import junit_counts


def dev(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs ./dev; every call here ends before anything is installed."""
    return subprocess.run([ROOT / "dev", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


class DevTest(unittest.TestCase):
    """The entry's manners."""

    def test_help_names_every_verb_and_goes_to_stdout(self) -> None:
        for arguments in (("help",), ("--help",), ()):
            done = dev(*arguments, cwd=Path("/"))
            self.assertEqual(done.returncode, 0)
            for verb in ("demo", "test", "bench", "lint", "fmt", "wheel", "exec"):
                self.assertIn(f"\n  {verb} ", done.stdout)

    def test_mistakes_exit_with_2_and_say_how_to_fix_them(self) -> None:
        for arguments in (("bulid",), ("exec",), ("test", "no_such_stage"), ("lint", "--everything")):
            with self.subTest(arguments=arguments):
                done = dev(*arguments)
                self.assertEqual(done.returncode, 2)
                self.assertIn("  fix: ", done.stderr)
                self.assertEqual(done.stdout, "")

    def test_every_stage_of_the_help_exists(self) -> None:
        stages = (ROOT / "tools/dev/stages.sh").read_text()
        names = dev("help").stdout.split("stages:")[1].split("\n")[0].split()
        self.assertIn(f"WT_STAGES=({' '.join(names)})", stages)
        for name in names:
            self.assertIn(f"stage_{name}() ", stages)

    def test_scripts_are_bash_without_errors(self) -> None:
        for script in [ROOT / "dev", ROOT / ".ci/run", *sorted((ROOT / "tools/dev").glob("*.sh"))]:
            done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), script)

    def test_a_changed_header_is_linted_through_one_source_however_many_include_it(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            tests = Path(folder, "src/module/test")
            tests.mkdir(parents=True)
            for name in ("fixture.h", "unused.h"):
                (tests / name).touch()
            for i in range(3000):  # their names fill a pipe
                (tests / f"a_test_of_a_rather_long_name_{i:04}.cc").write_text('#include "fixture.h"\n')
            subprocess.run(["git", "init", "-q", folder], check=True)
            subprocess.run(["git", "-C", folder, "add", "-A"], check=True)
            lint = f"set -euo pipefail; WT_ROOT={folder}; source {ROOT}/tools/dev/lint.sh; source_of src/module/test"
            for name, source in (
                ("fixture.h", "src/module/test/a_test_of_a_rather_long_name_0000.cc\n"),
                ("unused.h", ""),
            ):
                done = subprocess.run(["bash", "-c", f"{lint}/{name}"], capture_output=True, text=True, check=False)
                self.assertEqual((done.returncode, done.stdout), (0, source), name)

    def test_the_wheel_is_judged_by_its_own_libraries_alone(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            packages = Path(folder, "wheeltapper/venv/lib/python3.11/site-packages")  # a checkout of the usual name
            for name in ("wheeltapper/_native.so", "wheeltapper/bin/wheeltapper", "wheeltapper.libs/libfmt.so.9"):
                (packages / name).parent.mkdir(parents=True, exist_ok=True)
                (packages / name).touch()
            (packages / "numpy.libs").mkdir()
            (packages / "numpy.libs/libgfortran.so.5").touch()
            script = f'source "{ROOT}/tools/dev/wheel.sh"; binaries_of "{folder}/wheeltapper/venv"'
            done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        found = {Path(name).name for name in done.stdout.split("\0") if name}
        self.assertEqual(found, {"_native.so", "wheeltapper", "libfmt.so.9"})


def run_logged(command: str, state: Path, interval: str = "1") -> subprocess.CompletedProcess[str]:
    """A command of tools/dev/progress.sh, with its logs and reports of progress under `state`."""
    script = f"""set -euo pipefail
        WT_ROOT={ROOT} WT_STATE={state} WT_VENV={state}/venv WT_PROGRESS_S={interval}
        source {ROOT}/tools/dev/progress.sh
        mkdir -p {state}/logs
        {command}"""
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)


class ProgressTest(unittest.TestCase):
    """What takes its time says how far it is; what fails shows why."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = Path(folder.name)

    def test_a_long_command_says_how_far_it_is_in_plain_lines_without_a_terminal(self) -> None:
        done = run_logged('quietly slow bash -c \'echo "[1/2] half"; sleep 2.6; echo "[2/2] done"\'', self.state)
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        lines = done.stderr.splitlines()
        self.assertGreaterEqual(len(lines), 2, done.stderr)
        for line in lines:
            self.assertRegex(line, r"^\./dev: slow, \d+ s: \[1/2\] half$")
        self.assertEqual((self.state / "logs/slow.log").read_text(), "[1/2] half\n[2/2] done\n")

    def test_a_short_command_says_nothing(self) -> None:
        done = run_logged("quietly short echo hello", self.state)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_a_failure_shows_its_output_and_keeps_its_code(self) -> None:
        done = run_logged("quietly broken bash -c 'echo out; echo err >&2; exit 7'", self.state)
        self.assertEqual(done.returncode, 7)
        for part in ("out\n", "err\n", "logs/broken.log"):
            self.assertIn(part, done.stderr)

    def test_the_first_failed_compilation_is_shown_where_much_follows_it(self) -> None:
        script = self.state / "build"
        script.write_text("echo '  FAILED: a.o'; echo 'a.cc:1: error: no'; seq -f 'line %g' 500; exit 1\n")
        done = run_logged(f"quietly build bash {script}", self.state)
        self.assertEqual(done.returncode, 1)
        self.assertIn("a.cc:1: error: no", done.stderr)
        self.assertIn("line 500", done.stderr)
        self.assertLess(len(done.stderr.splitlines()), 200)

    def test_on_a_terminal_it_is_one_line_that_is_erased(self) -> None:
        command = "quietly slow bash -c 'echo \"[1/2] half\"; sleep 2.6'; printf 'code %s\\n' $? >&2"
        script = f"""WT_ROOT={ROOT} WT_STATE={self.state} WT_VENV={self.state}/venv WT_PROGRESS_S=1
            source {ROOT}/tools/dev/progress.sh
            mkdir -p {self.state}/logs
            {command}"""
        environment = {key: value for key, value in os.environ.items() if key != "CI"} | {"TERM": "xterm"}
        pid, master = pty.fork()
        if pid == 0:
            os.execvpe("bash", ["bash", "-c", script], environment)
        seen = b""
        try:
            while piece := os.read(master, 4096):
                seen += piece
        except OSError:
            pass  # the terminal is gone with its last user
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(master)
        self.assertIn(b"\r\x1b[K./dev: slow, 1 s: [1/2] half", seen)
        self.assertTrue(seen.endswith(b"\r\x1b[Kcode 0\r\n"), seen)
        self.assertEqual(seen.count(b"\n"), 1)


PYTEST = """<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure/></testcase>
<testcase name="c"><error/></testcase><testcase name="d"><skipped message="no GPU"/></testcase>
</testsuite></testsuites>"""
CTEST = """<testsuite><testcase name="core.A" status="run"/><testcase name="core.B" status="fail"><failure message=""/>
</testcase><testcase name="core.C" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
<system-out>[ RUN ] C\nx_test.cc:7: Skipped\nneeds two cores\n</system-out></testcase></testsuite>"""


class JunitCountsTest(unittest.TestCase):
    """What the closing line is made of."""

    def count(self, *texts: str) -> tuple[str, str]:
        """stdout and stderr for files with these contents."""
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for number, text in enumerate(texts):
                paths.append(Path(folder) / f"{number}.xml")
                paths[-1].write_text(text)
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                junit_counts.main([str(path) for path in paths])
            return out.getvalue(), err.getvalue()

    def test_both_dialects_are_added_up_and_skips_give_their_reason(self) -> None:
        out, err = self.count(PYTEST, CTEST)
        self.assertEqual(out, "2 3 2\n")
        self.assertIn("skipped: d: no GPU", err)
        self.assertIn("skipped: core.C: needs two cores", err)

    def test_a_damaged_or_missing_file_is_a_failure(self) -> None:
        out, _ = self.count("<testsuite><testcase")
        self.assertEqual(out, "0 1 0\n")
        with redirect_stdout(io.StringIO()) as missing, redirect_stderr(io.StringIO()):
            junit_counts.main(["/nonexistent/results.xml"])
        self.assertEqual(missing.getvalue(), "0 1 0\n")


if __name__ == "__main__":
    unittest.main()
