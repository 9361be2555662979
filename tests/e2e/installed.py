"""The installed program as the end-to-end tests call it, and the runs it leaves."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
