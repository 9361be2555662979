"""Files of the format module, written by its sample tool for the tests of this folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of *.parquet and *.safetensors files, each with a *.json of what is in it."""
    build = Path(os.environ.get("WT_BUILD_DIR", REPOSITORY / "build" / "release"))
    tool = REPOSITORY / build / "src" / "format" / "wheeltapper_format_samples"
    if not tool.exists():
        pytest.skip(f"no {tool}: build the target wheeltapper_format_samples or set WT_BUILD_DIR")
    folder = tmp_path_factory.mktemp("samples")
    subprocess.run([tool, folder], check=True, timeout=120)
    return folder
