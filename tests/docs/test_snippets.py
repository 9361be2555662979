"""What README and docs show works: Python blocks run, TOML blocks load as configuration.

The blocks of one page run in order in one process, in an empty folder. A block that stands for something
longer is marked `<!-- not run: reason -->` in the line before it; the reason is printed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<kind>python|toml)\n(?P<text>.*?)^```", re.M | re.S
)


def blocks_of(page: Path, kind: str) -> list[re.Match[str]]:
    """The page's blocks of one kind."""
    return [match for match in BLOCK.finditer(page.read_text()) if match["kind"] == kind]


def pages_with(kind: str) -> list[Any]:
    """One parameter per page that has such blocks."""
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if blocks_of(page, kind)]


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_blocks_of_a_page_run_in_order(page: Path, tmp_path: Path) -> None:
    run = []
    for block in blocks_of(page, "python"):
        if block["reason"]:
            print(f"not run: {page.name}: {block['reason']}")
        else:
            run.append(block["text"])
    if not run:
        pytest.skip("every block of this page is marked as not run")
    script = tmp_path / "snippet.py"
    script.write_text("\n".join(run))
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", pages_with("toml"))
def test_toml_blocks_of_a_page_are_valid_configuration(page: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "wheeltapper"
    for block in blocks_of(page, "toml"):
        (tmp_path / "wheeltapper.toml").write_text(block["text"])
        done = subprocess.run(
            [program, "config", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, block["text"] + done.stderr
