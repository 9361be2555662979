"""Real runs of the installed program; those that train are shared by the tests of a session."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installed import Run, program


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Runs a Python script under the watcher, once per distinct call in the session."""
    kept: dict[tuple[Any, ...], Run] = {}

    def watch(script: Path, *args: str, flags: tuple[str, ...] = (), limit: float = 300) -> Run:
        key = (script, args, flags)
        if key not in kept:
            folder = tmp_path_factory.mktemp("watched")
            path = folder / "run"
            outcome = program(
                "run", "--run-dir", str(path), *flags, "--", sys.executable, str(script), *args, cwd=folder, limit=limit
            )
            kept[key] = Run(path, outcome)
        return kept[key]

    return watch
