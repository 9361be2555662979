"""The installed program as the end-to-end tests call it, and the runs it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
TRAIN = Path(__file__).with_name("train_script.py")
QUICKSTART = ROOT / "examples" / "01_quickstart" / "train.py"


@dataclass
class Outcome:
    """How a program ended and what it printed."""

    code: int
    out: str
    err: str


def program(*args: str, cwd: Path, stdin: str = "", env: dict[str, str] | None = None, limit: float = 300) -> Outcome:
    """Runs `wheeltapper args…` in `cwd`."""
    merged = {**os.environ, "WHEELTAPPER_STRICT": "1", **(env or {})}
    done = subprocess.run(
        ["wheeltapper", *args],
        cwd=cwd,
        input=stdin,
        env=merged,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def as_json(outcome: Outcome) -> Any:
    """The JSON on stdout of a program that ended well enough."""
    assert outcome.code in (0, 1), outcome
    return json.loads(outcome.out)


@dataclass
class Run:
    """A finished run and how the program that watched it ended."""

    path: Path
    outcome: Outcome

    def findings(self) -> list[dict[str, Any]]:
        return as_json(program("findings", str(self.path), "--json", cwd=self.path.parent))

    def summary(self) -> dict[str, Any]:
        return as_json(program("show", str(self.path), "--json", cwd=self.path.parent))


def wait_for(condition: Callable[[], bool], limit: float = 60) -> None:
    give_up = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < give_up, "the condition did not come true in time"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether any thread of a process lives and so holds its files; its first one may have ended before the others."""
    try:
        return any(has_not_ended(stat) for stat in Path(f"/proc/{pid}/task").glob("*/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return False


def has_not_ended(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class WatchedJob:
    """A training that goes on under `wheeltapper run`, and where it is recorded."""

    watcher: subprocess.Popen[str]
    path: Path

    def rank(self) -> dict[str, Any]:
        """What rank 0 says of itself."""
        return json.loads((self.path / "ranks" / "r00000.json").read_text())

    def kill_trainer(self) -> None:
        pid = self.rank()["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_running(pid))

    def kill_watcher(self) -> None:
        self.watcher.kill()
        self.watcher.wait(timeout=60)


def end(job: WatchedJob) -> None:
    if job.watcher.poll() is None:
        job.watcher.terminate()  # it passes that on to the training
        try:
            job.watcher.wait(timeout=60)
        except subprocess.TimeoutExpired:
            job.kill_watcher()
    if (job.path / "ranks" / "r00000.json").exists() and is_running(job.rank()["pid"]):
        job.kill_trainer()


@contextmanager
def watched_job(
    run: Path, *script: str, flags: tuple[str, ...] = (), out: int | IO[str] = subprocess.DEVNULL
) -> Iterator[WatchedJob]:
    """Trains in the folder of `run` until the third step is done; neither process outlives the block."""
    ready = run.parent / f"{run.name}.ready"
    training = (sys.executable, "-u", str(TRAIN), "--ready", str(ready), *script)
    command = ("wheeltapper", "run", "--run-dir", str(run), "--set", "capture.every=1", *flags, "--", *training)
    watcher = subprocess.Popen(command, cwd=run.parent, stdout=out, stderr=subprocess.DEVNULL, text=True)
    job = WatchedJob(watcher, run)
    try:
        wait_for(lambda: ready.exists() or watcher.poll() is not None)
        assert ready.exists(), f"the training ended early, with exit code {watcher.returncode}"
        yield job
    finally:
        end(job)
        if watcher.stdout is not None:
            watcher.stdout.close()
