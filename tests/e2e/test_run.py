"""`wheeltapper run` end to end: invisible to the script, true in what it says, right in how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import QUICKSTART, TRAIN, Run, as_json, program, wait_for, watched_job

Watch = Callable[..., Run]


def test_output_and_exit_code_are_those_of_the_script(watched: Watch) -> None:
    plain = subprocess.run([sys.executable, str(TRAIN), "--exit-code", "7"], capture_output=True, check=False)
    run = watched(TRAIN, "--exit-code", "7", flags=("-q",))
    assert run.outcome.code == plain.returncode == 7
    assert run.outcome.out.encode() == plain.stdout
    assert run.outcome.err.encode() == plain.stderr


def test_a_healthy_run_is_silent_and_leaves_a_report(watched: Watch) -> None:
    run = watched(QUICKSTART)
    assert run.outcome.code == 0
    assert run.findings() == []
    summary = run.summary()
    assert summary["state"] == "finished"
    assert summary["steps"] == 8 * 23
    assert summary["verdict"].startswith("Healthy: no findings in 184 steps")
    assert summary["gaps"] == []
    assert 0 < summary["overhead"]["fraction"] < 0.2
    html = (run.path / "report" / "report.html").read_text()
    assert "conv1.weight" in html
    assert "<script" not in html
    assert json.loads((run.path / "report" / "report.json").read_text())["losses"]


def test_a_diverging_run_is_stopped_by_the_rule_that_saw_it(watched: Watch) -> None:
    run = watched(QUICKSTART, "--lr", "40", "--epochs", "200", flags=("--stop-on", "error"))
    assert run.outcome.code == 4
    summary = run.summary()
    assert summary["state"] == "stopped"
    assert summary["reason"].startswith("stopped by rule ")
    findings = run.findings()
    stopped_by = summary["reason"].removeprefix("stopped by rule ")
    finding = next(f for f in findings if f["rule"] == stopped_by)
    for key in ("tensor", "module", "message", "cause", "try"):
        assert finding[key], (key, finding)
    assert "learning rate" in finding["cause"]
    assert finding["step"] < 184
    assert f"[{stopped_by}]" in run.outcome.err
    actions = [json.loads(line) for line in (run.path / "actions.jsonl").read_text().splitlines()]
    assert next(a for a in actions if a["action"] == "stop")["outcome"] == "done"


def test_a_dead_layer_is_named(watched: Watch) -> None:
    run = watched(QUICKSTART, "--dead-layer")
    assert run.outcome.code == 0
    finding = next(f for f in run.findings() if f["rule"] == "dead_relu")
    assert finding["module"] == "relu2"
    assert finding["tensor"] == "output/relu2"
    assert finding["cause"]
    assert finding["try"]


def test_nan_is_found_at_its_step(watched: Watch) -> None:
    run = watched(TRAIN, "--nan-at", "12", flags=("--set", "capture.every=1"))
    finding = next(f for f in run.findings() if f["rule"] == "nonfinite")
    assert finding["step"] == 12
    assert finding["severity"] == "critical"
    assert run.outcome.code == 0, "observing alone changes no exit code"


def test_fail_on_turns_an_open_finding_into_exit_code_3(watched: Watch) -> None:
    assert watched(TRAIN, "--nan-at", "12", flags=("--fail-on", "error")).outcome.code == 3


def test_the_scripts_own_exception_passes_through(watched: Watch) -> None:
    run = watched(TRAIN, "--raise-at", "5")
    assert run.outcome.code == 1
    assert "ValueError: the script's own error" in run.outcome.err
    assert run.summary()["state"] == "failed"
    assert run.summary()["steps"] == 5


def test_findings_have_the_keys_of_the_contract(watched: Watch) -> None:
    for finding in watched(TRAIN, "--nan-at", "12", flags=("--set", "capture.every=1")).findings():
        wanted = {"rule", "severity", "tensor", "module", "step", "last_step", "mode", "rank", "state"}
        assert (wanted | {"count", "message", "cause", "try"}) <= finding.keys()
        assert finding["severity"] in ("info", "warning", "error", "critical")


def test_stdin_passes_through(tmp_path: Path) -> None:
    outcome = program("run", "-q", "--", "sh", "-c", "read line; echo got $line", cwd=tmp_path, stdin="a word\n")
    assert (outcome.code, outcome.out) == (0, "got a word\n")


def test_the_command_has_the_terminal_and_control_c_reaches_it(tmp_path: Path) -> None:
    script = tmp_path / "on_tty.py"
    script.write_text(
        "import sys, time\n"
        "try:\n"
        "    print('tty', sys.stdin.isatty(), sys.stdout.isatty(), flush=True)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('interrupted', flush=True); sys.exit(9)\n"
    )
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvp("wheeltapper", ["wheeltapper", "run", "-q", "--", sys.executable, str(script)])
    seen = b""
    while b"tty True True" not in seen:
        seen += os.read(master, 4096)
    os.write(master, b"\x03")
    try:
        while True:
            piece = os.read(master, 4096)
            if not piece:
                break
            seen += piece
    except OSError:
        pass  # the terminal is gone with its last user
    _, status = os.waitpid(pid, 0)
    os.close(master)
    assert b"interrupted" in seen
    assert os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "catch.py"
    script.write_text(
        "import os, signal, sys, time\n"
        # Not print(): the signal may come while the other print() still holds the stream.
        f"signal.signal({int(number)}, lambda *_: (os.write(1, b'caught\\n'), sys.exit(21)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    watcher = subprocess.Popen(
        ["wheeltapper", "run", "-q", "--", sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "ready\n"
    watcher.send_signal(number)
    out, _ = watcher.communicate(timeout=60)
    assert out == "caught\n"
    assert watcher.returncode == 21


def test_a_python_that_cannot_attach_is_said_so_with_what_to_do(tmp_path: Path) -> None:
    for flags in (["-I"], ["-S"], ["-E"]):
        outcome = program("run", "--", sys.executable, *flags, "-c", "print(1)", cwd=tmp_path)
        assert outcome.code == 0
        assert "has not attached" in outcome.err
        assert "wheeltapper.attach" in outcome.err
    assert "has not attached" not in program("run", "--", sys.executable, "-c", "print(1)", cwd=tmp_path).err


def test_a_python_without_the_extension_runs_unobserved_and_is_said_so(tmp_path: Path) -> None:
    import wheeltapper

    package = tmp_path / "other" / "wheeltapper"
    shutil.copytree(Path(wheeltapper.__file__).parent, package)
    for path in package.glob("_native*"):
        path.unlink()
    outcome = program(
        "run",
        "--",
        sys.executable,
        "-c",
        "import torch; print(1)",
        cwd=tmp_path,
        env={"PYTHONPATH": str(package.parent), "WHEELTAPPER_STRICT": "0"},
    )
    assert (outcome.code, outcome.out) == (0, "1\n")
    assert "in a Python process: attaching failed" in outcome.err
    assert "_native" in outcome.err


@pytest.mark.parametrize("command", [["true"], ["sh", "-c", "exit 5"], [sys.executable, "-c", "pass"]])
def test_a_command_that_never_trains_is_recorded_as_such(tmp_path: Path, command: list[str]) -> None:
    outcome = program("run", "--name", "idle", "--", *command, cwd=tmp_path)
    assert outcome.code == (5 if command[0] == "sh" else 0)
    summary = as_json(program("show", "idle", "--json", cwd=tmp_path))
    assert summary["steps"] == 0
    assert summary["level"] == "no data"


FORGOTTEN_STEP = """
import torch
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(50):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(torch.ones(8, 4)), torch.ones(8, 1)).backward()
"""


def test_a_forgotten_optimizer_step_is_not_called_healthy(tmp_path: Path) -> None:
    outcome = program("run", "--name", "idle", "--", sys.executable, "-c", FORGOTTEN_STEP, cwd=tmp_path)
    assert outcome.code == 0
    assert "warning[optimizer_no_op]: the optimizer never stepped: 50 backward passes" in outcome.err
    summary = as_json(program("show", "idle", "--json", cwd=tmp_path))
    assert summary["level"] == "warning"
    assert summary["verdict"].startswith("Warning: the optimizer never stepped")


def test_killing_the_watcher_leaves_the_job_running_and_loses_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    log = tmp_path / "log"
    with log.open("w") as out, watched_job(run, "--steps", "60", "--pause", "0.02", out=out) as job:
        job.kill_watcher()
        wait_for(lambda: "pid True" in log.read_text())
        wait_for(lambda: as_json(program("show", str(run), "--json", cwd=tmp_path))["state"] != "running")
    assert program("fsck", str(run), "--repair", cwd=tmp_path).code == 0
    assert as_json(program("show", str(run), "--json", cwd=tmp_path))["steps"] == 60


def test_killing_the_trainer_loses_no_committed_step(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with watched_job(run, "--steps", "100000", "--pause", "0.001", out=subprocess.PIPE) as job:
        os.kill(job.rank()["pid"], signal.SIGKILL)
        out, _ = job.watcher.communicate(timeout=120)
        assert job.watcher.returncode == 128 + signal.SIGKILL
    printed = [int(line.split()[0]) for line in out.splitlines() if re.fullmatch(r"\d+ .*", line)]
    summary = as_json(program("show", str(run), "--json", cwd=tmp_path))
    assert summary["state"] in ("failed", "stopped")
    # A step is printed after optimizer.step() returned, hence after its commit.
    assert summary["last_step"] >= printed[-1]
    assert program("fsck", str(run), cwd=tmp_path).code == 0


# Where in page 0 of a segment its last heartbeat stands: docs/format/journal.md.
HEARTBEAT_AT = 72


def test_what_a_job_left_that_was_killed_with_its_watcher_is_brought_in_beside_the_next(tmp_path: Path) -> None:
    run = tmp_path / "wheeltapper-runs" / "killed"
    run.parent.mkdir()
    with watched_job(run, "--steps", "100000", "--pause", "0.001") as job:
        job.kill_watcher()
        job.kill_trainer()
        segment = Path(job.rank()["segment_path"])
    with segment.open("r+b") as page:
        page.seek(HEARTBEAT_AT)
        page.write((1).to_bytes(8, "little"))  # when the machine started
    looks = '[ ! -e "$1" ] && ! ls "$2"/journal/*.wtj && exit; sleep 0.05'
    waits = f"for i in $(seq 1200); do {looks}; done; exit 1"  # it outlives a test that fails, but not for long
    outcome = program("run", "--name", "next", "--", "sh", "-c", waits, "sh", str(segment), str(run), cwd=tmp_path)
    assert outcome.code == 0
    assert f"brought in the last steps of a killed job: {run}" in outcome.err
    assert program("fsck", str(run), cwd=tmp_path).code == 0
