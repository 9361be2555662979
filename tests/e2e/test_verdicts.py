"""Verdicts over real, small trainings: what is wrong is found once, and what is well is left alone."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import TRAIN, Run, as_json, program, wait_for, watched_job
from verdict_scripts import PRELUDE, SCRIPTS

Watch = Callable[..., Run]


@pytest.fixture(scope="session")
def trained(watched: Watch, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """The run of one of the scripts, with the defaults but a budget that thins nothing."""
    folder = tmp_path_factory.mktemp("scripts")

    def train(name: str, *flags: str, code: int = 0) -> Run:
        script = folder / f"{name}.py"
        script.write_text(PRELUDE + SCRIPTS[name])
        run = watched(script, flags=("--set", "budget=100%", *flags))
        assert run.outcome.code == code, run.outcome
        return run

    return train


def test_a_forgotten_backward_is_the_one_finding(trained: Callable[..., Run]) -> None:
    (finding,) = trained("no_backward").findings()
    assert (finding["rule"], finding["severity"], finding["tensor"]) == ("optimizer_no_op", "error", "0.weight")
    assert finding["cause"].startswith("loss.backward() is not called")
    assert [text.partition(":")[0] for text in finding["also"]] == ["loss_not_decreasing"]


def test_a_forgotten_backward_is_found_whatever_is_captured(trained: Callable[..., Run]) -> None:
    flags = ("--set", "capture.gradients=off", "--set", "capture.weights=off", "--set", "capture.biases=off")
    (finding,) = trained("no_backward", *flags).findings()
    assert (finding["rule"], finding["severity"], finding["tensor"]) == ("optimizer_no_op", "warning", None)


def test_gradients_that_are_zeroed_before_the_step_are_found_and_not_called_vanishing(
    trained: Callable[..., Run],
) -> None:
    (finding,) = (each for each in trained("zeroed").findings() if each["part_of"] is None)
    assert (finding["rule"], finding["severity"]) == ("optimizer_no_op", "warning")
    assert "zero_grad() is called between backward() and step()" in finding["cause"]


def test_gradients_that_are_cleared_before_the_step_are_found(trained: Callable[..., Run]) -> None:
    (finding,) = trained("cleared").findings()
    assert finding["rule"] == "optimizer_no_op"
    assert "zero_grad() is called between backward() and step()" in finding["cause"]


def test_an_optimizer_that_is_never_stepped_is_found(trained: Callable[..., Run]) -> None:
    (finding,) = trained("idle_optimizer").findings()
    assert (finding["rule"], finding["tensors"]) == ("optimizer_no_op", ["Linear.weight", "Linear.bias"])
    assert finding["cause"] == "its optimizer (Adam) is never stepped"


def test_a_forgotten_step_is_found_and_one_by_hand_is_not(trained: Callable[..., Run]) -> None:
    run = trained("no_step", "--fail-on", "warning", code=3)
    (finding,) = run.findings()
    assert (finding["rule"], finding["severity"]) == ("optimizer_no_op", "error")
    assert finding["message"].startswith("the optimizer never stepped: 150 backward passes")
    assert run.summary()["level"] == "error"
    assert trained("by_hand").findings() == []


def test_a_detached_module_is_found(trained: Callable[..., Run]) -> None:
    (finding,) = trained("detached").findings()
    assert (finding["rule"], finding["severity"]) == ("optimizer_no_op", "warning")
    assert finding["tensors"] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert "detach()" in finding["cause"]


@pytest.mark.parametrize(
    "name", ["gan", "late_optimizer", "functional", "scaled", "in_backward", "accumulated", "closures"]
)
def test_sound_trainings_are_healthy(trained: Callable[..., Run], name: str) -> None:
    run = trained(name)
    assert run.findings() == []
    assert run.summary()["level"] == "healthy"


def test_a_missing_zero_grad_is_found_where_nothing_diverges(trained: Callable[..., Run]) -> None:
    run = trained("kept")
    (finding,) = run.findings()
    assert (finding["rule"], finding["severity"]) == ("gradients_add_up", "warning")
    assert (finding["tensor"], finding["step"], finding["state"]) == ("gradient/2.bias", 3, "open")
    assert "zero_grad() is not called" in finding["cause"]
    assert run.summary()["level"] == "warning"


def test_a_softmax_before_a_loss_that_takes_its_own_is_found(trained: Callable[..., Run]) -> None:
    run = trained("squashed")
    (finding,) = run.findings()
    assert (finding["rule"], finding["severity"], finding["step"]) == ("loss_input", "warning", 0)
    assert finding["message"].startswith(
        "cross_entropy, which takes a softmax itself, is given the output of a softmax"
    )
    assert "without the softmax" in finding["try"]


def test_predictions_compared_with_targets_of_another_shape_are_found(trained: Callable[..., Run]) -> None:
    (finding,) = (each for each in trained("column").findings() if each["part_of"] is None)
    assert (finding["rule"], finding["severity"]) == ("loss_input", "error")
    assert "[32, 1] was broadcast to [32, 32]" in finding["message"]


def test_a_model_that_only_unlearns_a_bad_guess_is_found(trained: Callable[..., Run]) -> None:
    (finding,) = trained("guessing").findings()
    assert (finding["rule"], finding["severity"]) == ("loss_not_decreasing", "warning")
    assert "stays at what guessing gives" in finding["message"]
    assert "guessing one of 3 gives 1.1)" in finding["cause"]


def test_a_missing_zero_grad_that_diverges_is_one_finding(trained: Callable[..., Run]) -> None:
    run = trained("kept_and_diverging")
    (finding,) = (each for each in run.findings() if each["part_of"] is None and each["state"] == "open")
    assert finding["severity"] == "error"
    assert "gradients add up" in finding["cause"]
    assert any(text.startswith("gradients_add_up: ") for text in finding["also"])


def test_a_learning_rate_of_zero_and_an_overfit_model_are_one_finding_each(trained: Callable[..., Run]) -> None:
    for name, rule, also in (
        ("zero_rate", "optimizer_no_op", "loss_not_decreasing"),
        ("overfit", "overfit", "overtraining"),
    ):
        run = trained(name)
        (finding,) = (each for each in run.findings() if each["part_of"] is None)
        assert finding["rule"] == rule
        assert run.summary()["findings"] == 1
        assert any(text.startswith(f"{also}: ") for text in finding["also"])
        assert "more finding" not in run.summary()["verdict"]
        assert f"also      {also}: " in program("show", str(run.path), cwd=run.path.parent).out


def test_rules_without_anything_to_judge_say_so_and_what_to_do(trained: Callable[..., Run]) -> None:
    run = trained("functional")
    advice = 'wheeltapper.log({"val_loss": value})'
    text = program("show", str(run.path), cwd=run.path.parent).out
    assert "overfit, overtraining had nothing to judge: no validation loss was seen" in text
    assert advice in text
    states = {row["name"]: row for row in run.summary()["rules"]}
    assert states["overfit"]["state"] == states["overtraining"]["state"] == "waiting"
    assert advice in states["overfit"]["detail"]
    assert states["loss_not_decreasing"] == {"name": "loss_not_decreasing", "state": "active", "detail": None}
    assert "no validation loss was seen" in (run.path / "report" / "report.html").read_text()
    judged = {row["name"]: row["state"] for row in trained("overfit").summary()["rules"]}
    assert judged["overfit"] == judged["overtraining"] == "active"


@pytest.mark.parametrize(
    "flags",
    [
        ("--stop-on", "loss_not_decreasing"),
        ("--stop-on", "error", "--set", "rules.exploding_tensor.action=none"),
    ],
)
def test_a_rule_stops_the_job_although_the_finding_of_another_one_tells_it(
    trained: Callable[..., Run], flags: tuple[str, ...]
) -> None:
    run = trained("explodes", "--set", "capture.every=1", *flags, code=4)
    summary = run.summary()
    assert summary["state"] == "stopped"
    (finding,) = (each for each in run.findings() if each["rule"] == "exploding_tensor")
    (also,) = (each for each in finding["also_seen"] if each["rule"] == "loss_not_decreasing")
    assert also["severity"] == "error"
    assert summary["reason"].startswith("stopped by rule loss_not_decreasing (")
    assert summary["reason"].endswith("), told in the finding of exploding_tensor")
    assert f"error[exploding_tensor], also: {also['rule']}: " in run.outcome.err


def test_show_tells_what_the_rules_of_a_run_that_goes_on_do(tmp_path: Path) -> None:
    run = tmp_path / "run"
    rule = tmp_path / "mine.py"
    rule.write_text("import wheeltapper\nclass Mine(wheeltapper.Rule):\n    def invoke_at_step(self, step): ...\n")
    states: dict[str, str] = {}

    def all_are_active() -> bool:
        states.update(
            {row["name"]: row["state"] for row in as_json(program("show", str(run), "--json", cwd=tmp_path))["rules"]}
        )
        return states.get("mine") == states.get("nonfinite") == "active"

    with watched_job(run, "--steps", "100000", "--pause", "0.02", flags=("--rule", f"{rule}:Mine")):
        wait_for(all_are_active)
        text = program("show", str(run), cwd=tmp_path).out
        assert "overfit, overtraining had nothing to judge: no validation loss was seen" in text
        assert "mine had nothing to judge" not in text


def test_a_learning_rate_that_grows_takes_the_blame(trained: Callable[..., Run]) -> None:
    (finding,) = trained("rising_rate").findings()
    told = {finding["rule"], *(each["rule"] for each in finding["also_seen"])}
    assert {"loss_not_decreasing", "weight_update_ratio"} <= told
    assert finding["cause"].startswith("the learning rate grew from 0.01 to ")
    assert "let the learning rate grow no further than " in finding["try"]


def test_show_tells_at_how_many_steps_tensors_were_captured(trained: Callable[..., Run]) -> None:
    run = trained("functional", "--set", "capture.every=16")
    summary = run.summary()
    assert (summary["steps"], summary["captured_steps"]) == (128, 8)
    assert "128 (0 to 127), tensors captured at 8 of them, 1 rank" in program("show", str(run.path), cwd=run.path).out


def test_show_tells_which_messages_wait_and_why(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "wheeltapper.toml").write_text(
        f'[actions.webhook]\nurl = "http://127.0.0.1:{port}/T000-secret"\nallow_private = true\non = "error"\n'
    )
    flags = ("--stop-on", "nonfinite", "--set", "capture.every=1")
    program("run", "--name", "down", *flags, "--", sys.executable, str(TRAIN), "--nan-at", "5", cwd=tmp_path)
    kept = len(list((tmp_path / "wheeltapper-runs" / "down" / "actions").glob("*.json")))
    (waiting,) = as_json(program("show", "down", "--json", cwd=tmp_path))["actions"]["waiting"]
    assert (waiting["action"], waiting["messages"]) == ("webhook", kept)
    assert "Could" in waiting["why"] or "connect" in waiting["why"]
    text = program("show", "down", cwd=tmp_path).out
    assert f"{kept} message" in text
    assert "of webhook not delivered yet (" in text
    assert "T000-secret" not in text


def test_a_damaged_record_of_the_actions_leaves_the_rest_to_be_read(tmp_path: Path) -> None:
    command = (sys.executable, str(TRAIN), "--nan-at", "5")
    flags = ("--stop-on", "nonfinite", "--set", "capture.every=1")
    program("run", "--name", "torn", *flags, "--", *command, cwd=tmp_path)
    path = tmp_path / "wheeltapper-runs" / "torn" / "actions.jsonl"
    path.write_text("garbage\n" + path.read_text())
    summary = as_json(program("show", "torn", "--json", cwd=tmp_path))
    assert list(summary["actions"]) == ["error"]
    assert "actions.jsonl" in summary["actions"]["error"]
    assert summary["level"] == "critical"
    assert "actions   unknown: " in program("show", "torn", cwd=tmp_path).out


def test_a_custom_rule_tells_how_whole_its_sandbox_is_live_and_afterwards(tmp_path: Path) -> None:
    rule = tmp_path / "mine.py"
    rule.write_text("import wheeltapper\nclass Mine(wheeltapper.Rule):\n    def invoke_at_step(self, step): ...\n")
    command = (sys.executable, str(TRAIN))
    outcome = program("run", "--name", "own", "--rule", f"{rule}:Mine", "--", *command, cwd=tmp_path)
    (mine,) = (row for row in as_json(program("show", "own", "--json", cwd=tmp_path))["rules"] if row["name"] == "mine")
    assert mine["state"] == "active", mine
    note = f"mine runs in a sandbox that is not whole: {mine['detail']}"
    for text in (outcome.err, program("show", "own", cwd=tmp_path).out):
        assert (note in text) == (mine["detail"] is not None)


def test_a_sandbox_that_is_not_whole_is_told_by_show(trained: Callable[..., Run], tmp_path: Path) -> None:
    run = trained("functional")
    states = json.loads((run.path / "rules.json").read_text())
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.path.iterdir():
        if path.name != "rules.json":
            (copy / path.name).symlink_to(path)
    states.append({"name": "mine", "state": "active", "detail": "this kernel has no Landlock", "findings": 0})
    (copy / "rules.json").write_text(json.dumps(states))
    text = program("show", str(copy), cwd=tmp_path).out
    assert "mine runs in a sandbox that is not whole: this kernel has no Landlock" in text


def test_names_of_the_job_do_not_drive_the_terminal_when_it_is_stopped(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import time, wheeltapper\n"
        "for step in range(1000):\n"
        "    wheeltapper.log({'\\x1b]0;owned\\x07loss': 1.0 if step < 5 else float('nan')})\n"
        "    wheeltapper.step()\n"
        "    time.sleep(0.01)\n"
    )
    outcome = program("run", "--stop-on", "nonfinite", "--", sys.executable, str(script), cwd=tmp_path)
    assert outcome.code == 4, outcome
    assert "stopped by rule nonfinite" in outcome.err
    assert "owned" in outcome.err
    assert "\x1b" not in outcome.err
