"""Runs the benchmarks and writes docs/benchmarks.md.

./dev bench                     all goals
./dev bench --goals 1,5,8       some of them; docs/benchmarks.md is left alone
./dev bench --quick             few rounds, small sizes; docs/benchmarks.md is left alone
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".wt" / "bench"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
INSIDE = "WT_BENCH_INSIDE"


def prepare_environment() -> Path:
    """The peers' environment with the project in it; returns its Python."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print("bench: installing the peers (once)", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "torch==2.13.0"], check=True)
        subprocess.run([*install, "-r", str(REQUIREMENTS)], check=True)
        stamp.write_text(wanted)
    return python


def link_project(python: Path) -> None:
    """Puts the package of the project's environment, and nothing else of it, into the peers' one."""
    import wheeltapper

    query = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['platlib'])"]
    packages = Path(subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip())
    link = packages / "wheeltapper"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(wheeltapper.__file__).parent)


def run_goals(numbers: list[int], *, quick: bool) -> list[object]:
    """Measures goal by goal; one that fails is reported and does not stop the others."""
    import torch
    from goals import Settings, all_goals

    torch.set_num_threads(1)
    results = []
    base = Path(tempfile.mkdtemp(prefix="wheeltapper-bench-", dir=ROOT / ".wt"))
    try:
        for number in numbers:
            folder = base / f"goal-{number}"
            folder.mkdir()
            print(f"bench: goal {number}", file=sys.stderr, flush=True)
            try:
                result = all_goals()[number](Settings(folder=folder, rounds=3 if quick else 9, quick=quick))
            except Exception:  # noqa: BLE001 - one goal that fails must not keep the others from being measured
                traceback.print_exc()
                print(f"bench: goal {number} could not be measured", file=sys.stderr)
                continue
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            results.append(result)
            for check in result.checks:
                print(f"  {'met   ' if check.met else 'MISSED'} {check.text}: {check.measured} (goal {check.wanted})")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return results


def markdown(results: list[object], line: str, calibration: list[tuple[str, str]]) -> str:
    """docs/benchmarks.md."""
    today = dt.datetime.now(tz=dt.timezone.utc).date()
    out = [
        "# Benchmarks",
        "",
        "Written by `./dev bench`; do not edit. Contestants run interleaved in one process, one thread each.",
        "A time is the median of the rounds (with the 10th and 90th percentile), a ratio the median of the",
        "ratios round by round. What is missed is explained in [benchmarks-notes.md](benchmarks-notes.md).",
        "",
        f"Machine ({today}): {line}.",
        "",
        "| calibration | rate |",
        "|---|---|",
        *(f"| {name} | {rate} |" for name, rate in calibration),
        "",
        "| goal | | met |",
        "|---|---|---|",
        *(f"| {r.number} | {r.title} | {'yes' if r.met else 'no'} |" for r in results),  # type: ignore[attr-defined]
    ]
    for result in results:
        out += ["", f"## {result.number}. {result.title}", "", f"Predicted: {result.prediction}", ""]  # type: ignore[attr-defined]
        out += ["| check | goal | measured | |", "|---|---|---|---|"]
        out += [f"| {c.text} | {c.wanted} | {c.measured} | {'met' if c.met else 'missed'} |" for c in result.checks]  # type: ignore[attr-defined]
        out += ["", "| | median | p10 – p90 | rounds |", "|---|---|---|---|"]
        out += ["| " + " | ".join(row) + " |" for row in result.rows]  # type: ignore[attr-defined]
        out += [f"\n{note}" for note in result.notes]  # type: ignore[attr-defined]
    return "\n".join(out) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goals", default="", help="numbers, separated by commas (default: all)")
    parser.add_argument("--quick", action="store_true", help="few rounds and small sizes")
    args = parser.parse_args()
    if os.environ.get(INSIDE) != "1":
        python = prepare_environment()
        link_project(python)
        environment = {**os.environ, INSIDE: "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return subprocess.run([str(python), *sys.argv], env=environment, check=False).returncode
    from machine import calibrate, machine_line

    numbers = [int(text) for text in args.goals.split(",") if text] or list(range(1, 13))
    line = machine_line()
    calibration = calibrate(ROOT / ".wt")
    results = run_goals(numbers, quick=args.quick)
    if not args.quick and not args.goals:
        (ROOT / "docs" / "benchmarks.md").write_text(markdown(results, line, calibration))
        print("bench: wrote docs/benchmarks.md")
    missing = len(numbers) - len(results)
    missed = sum(not result.met for result in results)  # type: ignore[attr-defined]
    print(f"bench: {len(results)} goals measured, {len(results) - missed} met, {missed} missed, {missing} not measured")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
