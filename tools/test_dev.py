"""./dev explains itself, refuses what it does not know, and counts what it ran."""

from __future__ import annotations

import io
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
