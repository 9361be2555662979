"""Fixtures of the Python tests: run a training job, read what it left.

`job` runs a function in a forked child of this process, which has imported torch once, so a job
costs a fraction of a second. `script` runs a real interpreter under the shim, as `wheeltapper run`
would, for everything that has to do with start-up, output and exit.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import textwrap
import traceback
from pathlib import Path

os.environ["WHEELTAPPER_STRICT"] = "1"
for name in ("WHEELTAPPER_RUN_DIR", "WHEELTAPPER_DISABLE"):
    os.environ.pop(name, None)

import pytest  # noqa: E402 - the variables above come first
import torch  # noqa: E402
import wheeltapper  # noqa: E402
from wheeltapper import _native  # noqa: E402

torch.set_num_threads(1)  # a forked child must not inherit a pool of threads
PACKAGE = Path(wheeltapper.__file__).parent


@pytest.fixture(scope="session", autouse=True)
def _temporary_files_are_removed(tmp_path_factory):
    """What PyTorch and its launcher leave in the temporary folder goes where pytest cleans up."""
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = before[1]
    if before[0] is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before[0]


@pytest.fixture(scope="session", autouse=True)
def _no_shared_memory_is_left(tmp_path_factory):
    """Every job is recovered in the end, as its watcher would have done: memory lasts longer than files."""
    yield
    ours = os.fsencode(tmp_path_factory.getbasetemp().resolve()) + b"/"  # gw1 is no part of gw10
    left = []
    for path in Path("/dev/shm").glob("wheeltapper-*"):
        with contextlib.suppress(OSError), path.open("rb") as segment:  # others come and go
            if ours in segment.read(4096):
                left.append(path)
    assert not left


def new_run(path, **config):
    """Makes a run directory; `config` are WHEELTAPPER_* variables that it is resolved from."""
    before = dict(os.environ)
    # All steps, so that what a test looks for is there.
    os.environ.update({"WHEELTAPPER_CAPTURE_EVERY": "1", "WHEELTAPPER_BUDGET": "100%"} | config)
    try:
        _native.create_run(str(path))
    finally:
        os.environ.clear()
        os.environ.update(before)
    return path


def in_child(function, run_dir, *, install=True, env=None):
    """Runs `function` as a job of `run_dir` in a forked child; its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.environ.update({"WHEELTAPPER_RUN_DIR": str(run_dir)} | (env or {}))
            from wheeltapper import _session

            if install:
                from wheeltapper.torch import hooks

                hooks.install()
            function()
            _session.close()
            status = 0
        except BaseException:  # noqa: BLE001 - whatever it is, the parent shows it
            Path(run_dir, "child-traceback.txt").write_text(traceback.format_exc())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def job(tmp_path):
    """job(function, config…) → the trial of a run of `function`."""

    def run(function, *, env=None, **config):
        run_dir = new_run(tmp_path / "run", **config)
        status = in_child(function, run_dir, env=env)
        left = run_dir / "child-traceback.txt"
        assert status == 0, left.read_text() if left.exists() else f"exit status {status}"
        return wheeltapper.open(run_dir)

    return run


class Script:
    """A Python script, run with and without the shim."""

    def __init__(self, folder):
        self.folder = folder
        self.run_dir = folder / "run"

    def env(self, *, attached=True, **extra):
        hidden = ("WHEELTAPPER_", "PYTHONPATH")
        env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        env.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1", **extra)
        if attached:
            behind = [extra["PYTHONPATH"]] if "PYTHONPATH" in extra else []
            env.update(
                WHEELTAPPER_STRICT="1",
                WHEELTAPPER_RUN_DIR=str(self.run_dir),
                WHEELTAPPER_PACKAGE_DIR=str(PACKAGE),
                PYTHONPATH=os.pathsep.join([str(PACKAGE / "_shim"), *behind]),
            )
        return env

    def prepare(self, **config):
        """Makes the run beforehand, with WHEELTAPPER_* variables of the test's own."""
        new_run(self.run_dir, **config)

    def run(self, text, *, attached=True, options=(), expect=0, timeout=180, **extra):
        """Runs the script; its CompletedProcess. `expect`: the exit status, None for any."""
        path = self.folder / "train.py"
        path.write_text(textwrap.dedent(text))
        if attached and not (self.run_dir / "run.json").exists():
            new_run(self.run_dir)
        done = subprocess.run(
            [sys.executable, *options, str(path)],
            env=self.env(attached=attached, **extra),
            cwd=self.folder,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        if expect is not None:
            assert done.returncode == expect, done.stderr.decode()
        return done

    def trial(self):
        return wheeltapper.open(self.run_dir)

    def notes(self):
        return "".join(path.read_text() for path in sorted(self.run_dir.glob("logs/attach-*.txt")))


@pytest.fixture
def script(tmp_path):
    """A Script in a folder of its own."""
    made = Script(tmp_path)
    yield made
    if (made.run_dir / "run.json").exists():
        _native.recover_run(str(made.run_dir))
