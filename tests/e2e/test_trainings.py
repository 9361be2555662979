"""A command that trains more than once leaves a run for each training, and a restart stays in its run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from installed import TRAIN, Outcome, as_json, program, wait_for

# The first goes on until the second has ended.
TWO_AT_ONCE = """
set -e
"$@" --ready {folder}/first --pause 0.01 --steps 100 --until {folder}/over & first=$!
while [ ! -e {folder}/first ]; do sleep 0.05; done
"$@" --nan-at 5 --steps 20
touch {folder}/over
wait $first
"""
CHILDREN = """
import multiprocessing

def train(steps):
    import torch
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(10):
        if step == steps:
            raise RuntimeError("the script's own error")
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(torch.ones(8, 4)), torch.zeros(8, 1)).backward()
        optimizer.step()

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    for steps in (10, 5):
        child = context.Process(target=train, args=(steps,))
        child.start()
        child.join()
"""
ELASTIC = """
import os, torch
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(20):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(torch.ones(8, 4)), torch.zeros(8, 1)).backward()
    optimizer.step()
    if step == 9 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "1":
        raise SystemExit(3)
"""


def run_script(folder: Path, script: str, *flags: str) -> Outcome:
    """`wheeltapper run` of a shell script, which gets the training's command as its arguments."""
    command = ("bash", "-c", script, "sweep", sys.executable, str(TRAIN))
    return program("run", "--run-dir", str(folder / "exp"), *flags, "--", *command, cwd=folder, limit=240)


def show(run: Path) -> dict[str, Any]:
    return as_json(program("show", str(run), "--json", cwd=run.parent))


def test_two_trainings_at_once_are_two_runs_each_judged_by_itself(tmp_path: Path) -> None:
    outcome = run_script(tmp_path, TWO_AT_ONCE.format(folder=tmp_path))
    assert outcome.code == 0, outcome.err
    first, second = show(tmp_path / "exp"), show(tmp_path / "exp-2")
    assert (first["findings"], first["state"]) == (0, "finished")
    assert first["steps"] >= 100
    assert (second["steps"], second["level"], second["state"]) == (20, "critical", "finished")
    assert first["further_runs"] == ["exp-2"]
    assert second["first_run"] == "exp"
    assert first["gaps"] == second["gaps"] == []
    assert second["command"][-4:] == ["--nan-at", "5", "--steps", "20"]
    assert "run exp-2: critical[nonfinite]" in outcome.err
    assert "run exp: finished" in outcome.err and "run exp-2: finished" in outcome.err
    for run in ("exp", "exp-2"):
        assert (tmp_path / run / "report" / "report.html").exists()
    said = program("show", str(tmp_path / "exp"), cwd=tmp_path).out
    assert "exp-2 is a further training of this command" in said


def test_a_training_after_another_is_a_run_of_its_own_with_steps_from_zero(tmp_path: Path) -> None:
    outcome = run_script(tmp_path, '"$@" --steps 12 && "$@" --steps 7 && exit 5')
    assert outcome.code == 5
    first, second = show(tmp_path / "exp"), show(tmp_path / "exp-2")
    assert (first["steps"], second["steps"]) == (12, 7)
    assert (first["state"], second["state"]) == ("finished", "finished"), "what failed came after them"


def began(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "trainings.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "began"]


def test_a_training_that_is_run_again_after_it_failed_stays_in_its_run(tmp_path: Path) -> None:
    outcome = run_script(tmp_path, 'for i in 1 2; do "$@" --raise-at 9 || echo again; done')
    assert outcome.code == 0, outcome.err
    assert [(line["training"], line["attempt"]) for line in began(tmp_path / "exp")] == [(1, 1), (1, 2)]
    assert not (tmp_path / "exp-2").exists()


def test_another_command_line_is_another_training_though_the_first_failed(tmp_path: Path) -> None:
    outcome = run_script(tmp_path, '"$@" --raise-at 9 || "$@" --steps 12')
    assert outcome.code == 0, outcome.err
    first, second = show(tmp_path / "exp"), show(tmp_path / "exp-2")
    assert (first["state"], first["exit_code"], first["steps"]) == ("failed", 1, 9)
    assert (second["state"], second["steps"]) == ("finished", 12)


@pytest.mark.parametrize("way", ["--exit-code 3", "--raise-at 9"])
def test_a_training_that_fails_is_told_so_and_not_as_the_command_ends(tmp_path: Path, way: str) -> None:
    outcome = run_script(tmp_path, f'"$@" {way}; "$@" --steps 12')
    assert outcome.code == 0, outcome.err
    first, second = show(tmp_path / "exp"), show(tmp_path / "exp-2")
    assert (first["state"], first["exit_code"]) == ("failed", 3 if "exit" in way else 1)
    assert (second["state"], second["exit_code"]) == ("finished", 0)


def test_a_training_that_is_killed_does_not_inherit_how_the_command_ends(tmp_path: Path) -> None:
    script = f"""
"$@" --ready {tmp_path}/first --pause 0.01 --steps 100000 & first=$!
while [ ! -e {tmp_path}/first ]; do sleep 0.05; done
kill -KILL $first; wait $first
"$@" --steps 12
"""
    outcome = run_script(tmp_path, script)
    assert outcome.code == 0, outcome.err
    first, second = show(tmp_path / "exp"), show(tmp_path / "exp-2")
    assert (first["state"], first["exit_code"]) == ("failed", None)
    assert first["reason"] == "its process ended without a word: killed, or by os._exit"
    assert f"steps {first['reason']}; the rules found nothing" in first["verdict"]
    assert (second["state"], second["steps"]) == ("finished", 12)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_that_train_one_after_the_other_have_a_run_each(tmp_path: Path, method: str) -> None:
    script = tmp_path / "train.py"
    script.write_text(CHILDREN.format(method=method))
    command = (sys.executable, str(script))
    outcome = program("run", "--run-dir", str(tmp_path / "exp"), "--", *command, cwd=tmp_path, limit=240)
    assert outcome.code == 0, outcome.err
    first, second = show(tmp_path / "exp"), show(tmp_path / "exp-2")
    assert (first["steps"], first["state"]) == (10, "finished")
    assert (second["steps"], second["state"], second["exit_code"]) == (5, "failed", 1)
    assert second["command"] == list(command), "of the process that started it"
    assert not (tmp_path / "exp-3").exists()


def test_a_stop_names_the_run_whose_rule_asked_for_it(tmp_path: Path) -> None:
    script = TWO_AT_ONCE.format(folder=tmp_path).replace("--steps 100", "--steps 10000")
    script = script.replace("--steps 20", "--steps 10000 --pause 0.01")
    outcome = run_script(tmp_path, script, "--stop-on", "critical")
    assert outcome.code == 4, outcome.err
    told = {"exp": "stopped by rule nonfinite in run exp-2", "exp-2": "stopped by rule nonfinite"}
    for run, reason in told.items():
        summary = show(tmp_path / run)
        assert (summary["state"], summary["reason"]) == ("stopped", reason), "a run does not name itself"
        assert f"run {run}: {reason}: " in outcome.err


@pytest.mark.parametrize("restarts", [0, 1])
def test_ranks_of_torchrun_share_a_run_and_a_restart_of_them_stays_in_it(tmp_path: Path, restarts: int) -> None:
    script = tmp_path / "train.py"
    script.write_text(ELASTIC)
    command = ("torchrun", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts), str(script))
    outcome = program("run", "--run-dir", str(tmp_path / "exp"), "--", *command, cwd=tmp_path, limit=240)
    assert (outcome.code == 0) == (restarts == 1), outcome.err
    lines = began(tmp_path / "exp")
    assert {line["training"] for line in lines} == {1}
    assert max(line["attempt"] for line in lines) == 1 + restarts
    assert {line["rank"] for line in lines} == {0, 1}
    assert not (tmp_path / "exp-2").exists()


def test_a_training_that_outlives_an_interrupted_command_is_not_called_interrupted(tmp_path: Path) -> None:
    # bash starts what is in the background deaf to SIGINT.
    training = f"{sys.executable} {TRAIN} --ready ready --until over --pause 0.02"
    watcher = subprocess.Popen(
        [
            "env",
            "--default-signal=INT",
            "wheeltapper",
            "run",
            "--run-dir",
            "exp",
            "--",
            "bash",
            "-c",
            f"{training} & wait",
        ],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "err").open("w"),  # the training holds it for longer than the command
    )
    try:
        wait_for((tmp_path / "ready").exists)
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(timeout=60) == 128 + signal.SIGINT
        assert "outlives the command and goes on" in (tmp_path / "err").read_text()
        assert show(tmp_path / "exp")["state"] == "running"
    finally:
        (tmp_path / "over").touch()
    wait_for(lambda: show(tmp_path / "exp")["state"] != "running")
    summary = show(tmp_path / "exp")
    assert summary["state"] == "abandoned"
    assert "nterrupted" not in summary["verdict"]
