"""The verbs that look at runs, and bad input to all of them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from installed import QUICKSTART, TRAIN, Run, as_json, program
from receiver import receiver

Watch = Callable[..., Run]
EVERY_STEP = ("--set", "capture.every=1")


@pytest.fixture(scope="session")
def run(watched: Watch) -> Run:
    return watched(TRAIN, flags=(*EVERY_STEP, "--set", "capture.gradients=raw", "--set", "capture.weights=hist"))


def test_ls_lists_runs_with_state_and_command(run: Run) -> None:
    rows = as_json(program("ls", str(run.path.parent), "--json", cwd=run.path.parent))
    assert [row["state"] for row in rows] == ["finished"]
    assert "train_script.py" in rows[0]["command"]
    assert "finished" in program("ls", str(run.path.parent), cwd=run.path.parent).out


def test_show_prints_what_json_holds(run: Run) -> None:
    text = program("show", str(run.path), cwd=run.path.parent).out
    for part in ("verdict", "overhead", "gaps", "30 (0 to 29)"):
        assert part in text


def test_a_run_that_cost_more_than_its_budget_says_why(watched: Watch) -> None:
    # The least budget there is: a machine that is busy otherwise makes steps longer, but not a hundred times.
    run = watched(TRAIN, flags=(*EVERY_STEP, "--set", "budget=0.01%"))
    overhead = run.summary()["overhead"]
    assert overhead["fraction"] > overhead["budget"] == 0.0001
    (said,) = re.findall(r"^budget +(.*)$", program("show", str(run.path), cwd=run.path.parent).out, re.MULTILINE)
    assert said == f"0.01 %, exceeded: {overhead['exceeded_because']}"
    assert overhead["exceeded_because"] in (run.path / "report" / "report.html").read_text()


def test_the_demo_prints_the_overhead_as_show_does(run: Run) -> None:
    (shown,) = re.findall(r"^overhead +(.*)$", program("show", str(run.path), cwd=run.path.parent).out, re.MULTILINE)
    summary = program("show", str(run.path), "--json", cwd=run.path.parent).out
    script = QUICKSTART.with_name("print_overhead.py")
    printed = subprocess.run([sys.executable, script], input=summary, capture_output=True, text=True, check=True)
    assert f" overhead {shown}, {run.summary()['steps']:,} steps  " in printed.stdout


def test_check_gives_the_findings_of_the_live_evaluation(watched: Watch) -> None:
    live = watched(TRAIN, "--nan-at", "12", flags=EVERY_STEP)
    outcome = program("check", str(live.path), "--json", cwd=live.path.parent)
    assert outcome.code == 1

    def key(finding: dict[str, object]) -> tuple[object, ...]:
        return (finding["rule"], finding["tensor"], finding["step"], finding["severity"])

    assert sorted(map(key, json.loads(outcome.out)), key=str) == sorted(map(key, live.findings()), key=str)


def test_check_of_a_healthy_run_ends_with_0(run: Run) -> None:
    outcome = program("check", str(run.path), cwd=run.path.parent)
    assert outcome.code == 0
    assert "no findings" in outcome.out


def test_a_custom_rule_in_python_runs_over_a_finished_run(run: Run, tmp_path: Path) -> None:
    rule = tmp_path / "my_rule.py"
    rule.write_text(
        "import wheeltapper\n"
        "class SmallWeights(wheeltapper.Rule):\n"
        "    def invoke_at_step(self, step):\n"
        "        return self.base_trial.tensor('0.weight').reduction_value(step, 'l2') > 0.0\n"
    )
    outcome = program(
        "check", str(run.path), "--rules", "nonfinite", "--rule", f"{rule}:SmallWeights", "--json", cwd=tmp_path
    )
    assert outcome.code == 1, outcome
    assert [finding["rule"] for finding in json.loads(outcome.out)] == ["small_weights"]


TWO_RULES = """
import wheeltapper

class _Weights(wheeltapper.Rule):
    def __init__(self, base_trial, limit=1e9):
        super().__init__(base_trial)
        self.limit = limit

class LargeWeights(_Weights):
    def invoke_at_step(self, step):
        return self.base_trial.tensor("0.weight").reduction_value(step, "l2") > self.limit

class SmallWeights(_Weights):
    def invoke_at_step(self, step):
        return self.base_trial.tensor("0.weight").reduction_value(step, "l2") < self.limit
"""


def test_each_class_of_a_file_is_a_rule_with_its_own_name_and_settings(run: Run, tmp_path: Path) -> None:
    # The base class does not say what it looks for: it is abstract, and no rule.
    (tmp_path / "my_rules.py").write_text(TWO_RULES)
    check = ("check", str(run.path), "--rules", "nonfinite", "--rule", "my_rules.py")

    def rules_of(*flags: str) -> dict[str, str]:
        findings = as_json(program(*check, *flags, "--json", cwd=tmp_path))
        return {finding["rule"]: finding["severity"] for finding in findings}

    assert rules_of() == {"small_weights": "warning"}
    assert rules_of("--set", "rules.large_weights.limit=0", "--set", "rules.small_weights.limit=0") == {
        "large_weights": "warning"
    }
    severe = ("--set", "rules.large_weights.limit=0", "--set", "rules.large_weights.severity=error")
    assert rules_of(*severe) == {"large_weights": "error", "small_weights": "warning"}
    assert rules_of("--ignore", "small_weights") == {}
    wrong = program(*check, "--set", "rules.my_rules.limit=0", cwd=tmp_path)
    assert wrong.code == 2
    assert 'unknown rule "my_rules" in [rules.my_rules]' in wrong.err
    assert "large_weights, small_weights" in wrong.err


def test_a_file_of_rules_that_cannot_be_loaded_is_an_errored_rule(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    outcome = program("check", str(run.path), "--rules", "nonfinite", "--rule", "broken.py", cwd=tmp_path)
    assert outcome.code == 1, outcome
    assert "rule broken failed" in outcome.err
    assert "no_such_module" in outcome.err


@pytest.mark.parametrize("body", ["raise RuntimeError('broken')", "import os; os._exit(3)", "while True: pass"])
def test_a_custom_rule_that_fails_is_an_errored_rule_never_a_finding(run: Run, tmp_path: Path, body: str) -> None:
    rule = tmp_path / "bad_rule.py"
    rule.write_text(
        f"import wheeltapper\nclass Bad(wheeltapper.Rule):\n    def invoke_at_step(self, step):\n        {body}\n"
    )
    outcome = program(
        "check",
        str(run.path),
        "--rules",
        "nonfinite",
        "--rule",
        f"{rule}:Bad",
        "--set",
        "rules.custom_deadline_s=1",
        cwd=tmp_path,
        limit=120,
    )
    assert outcome.code == 1, outcome
    assert "failed" in outcome.err
    assert "not fully checked" in outcome.out


def test_rules_and_explain_come_from_one_table(tmp_path: Path) -> None:
    rules = as_json(program("rules", "--json", cwd=tmp_path))
    names = {rule["name"] for rule in rules}
    assert {
        "nonfinite",
        "exploding_tensor",
        "vanishing_gradient",
        "loss_not_decreasing",
        "overfit",
        "overtraining",
        "dead_relu",
        "weight_update_ratio",
        "unchanged_tensor",
    } <= names
    for rule in rules:
        text = program("explain", rule["name"], cwd=tmp_path).out
        for parameter in rule["parameters"]:
            assert f"`{parameter['name']}`" in text


def test_export_csv_parquet_and_npz_agree(run: Run, tmp_path: Path) -> None:
    import pyarrow.parquet

    rows = list(csv.DictReader(io.StringIO(program("export", str(run.path), cwd=tmp_path).out)))
    parquet = tmp_path / "stats.parquet"
    npz = tmp_path / "stats.npz"
    assert program("export", str(run.path), "--format", "parquet", "-o", str(parquet), cwd=tmp_path).code == 0
    assert program("export", str(run.path), "--format", "npz", "-o", str(npz), cwd=tmp_path).code == 0
    table = pyarrow.parquet.read_table(parquet)
    archive = np.load(npz)
    assert len(rows) == table.num_rows == len(archive["l2"]) > 0
    assert [float(row["l2"]) for row in rows] == table.column("l2").to_pylist() == archive["l2"].tolist()


def test_export_of_raw_tensors_is_what_numpy_reads(run: Run, tmp_path: Path) -> None:
    import wheeltapper

    npz = tmp_path / "tensors.npz"
    outcome = program("export", str(run.path), "--table", "tensors", "--format", "npz", "-o", str(npz), cwd=tmp_path)
    assert outcome.code == 0, outcome
    archive = np.load(npz)
    trial = wheeltapper.open(str(run.path))
    expected = trial.tensor("gradient/0.weight").value(5)
    assert np.array_equal(archive["gradient/0.weight/train/5/r0"], expected)


def test_raw_tensors_go_on_when_more_than_a_ring_has_been_written(tmp_path: Path) -> None:
    script = tmp_path / "large.py"
    script.write_text(
        "import torch, wheeltapper\n"
        "for step in range(30):\n"
        "    wheeltapper.save_tensor('large', torch.full((1 << 20,), float(step)))\n"
        "    wheeltapper.step()\n"
        "    wheeltapper.flush()\n"
    )
    flags = ("--set", "capture.every=1", "--set", "capture.blob_ring_mb=16")
    outcome = program("run", "--name", "large", *flags, "--", sys.executable, str(script), cwd=tmp_path)
    assert outcome.code == 0, outcome
    assert as_json(program("show", "large", "--json", cwd=tmp_path))["gaps"] == []
    import wheeltapper

    large = wheeltapper.open(str(tmp_path / "wheeltapper-runs" / "large")).tensor("large")
    assert large.steps() == list(range(30))
    assert large.value(29)[0] == 29.0


def test_a_custom_rule_that_fails_live_is_told_and_spoils_the_verdict(tmp_path: Path) -> None:
    rule = tmp_path / "bad_rule.py"
    rule.write_text(
        "import wheeltapper\nclass Bad(wheeltapper.Rule):\n    def invoke_at_step(self, step):\n        1 / 0\n"
    )
    outcome = program(
        "run", "--name", "spoilt", "--rule", f"{rule}:Bad", *EVERY_STEP, "--", sys.executable, str(TRAIN), cwd=tmp_path
    )
    assert outcome.code == 0
    assert "rule bad failed" in outcome.err
    assert "ZeroDivisionError" in outcome.err
    assert "rule bad failed" in as_json(program("show", "spoilt", "--json", cwd=tmp_path))["verdict"]


def test_addresses_of_webhooks_are_not_written_into_the_run(tmp_path: Path) -> None:
    secret = "https://hooks.example.org/services/T000/B000/XXXX"
    outcome = program("run", "--name", "quiet", "--set", f"actions.webhook.url={secret}", "--", "true", cwd=tmp_path)
    assert outcome.code == 0
    for path in (tmp_path / "wheeltapper-runs" / "quiet").rglob("*"):
        if path.is_file():
            assert b"T000/B000" not in path.read_bytes(), path


def test_fsck_finds_a_flipped_bit_in_every_table_and_in_raw_tensors(run: Run, tmp_path: Path) -> None:
    folders = ("scalars", "stats", "tensors", "steps", "metas", "blobs")
    files = {folder: list((run.path / folder).iterdir()) for folder in folders}
    assert all(files.values())
    for victim in (path for paths in files.values() for path in paths):
        copy = tmp_path / victim.parent.name
        shutil.copytree(run.path, copy)
        target = copy / victim.relative_to(run.path)
        data = bytearray(target.read_bytes())
        data[len(data) // 3] ^= 0x10
        target.write_bytes(bytes(data))
        outcome = program("fsck", str(copy), cwd=tmp_path)
        assert outcome.code == 1, (victim, outcome)
        assert victim.name in outcome.out
    assert program("fsck", str(run.path), cwd=tmp_path).code == 0


def test_check_says_that_it_could_not_read_everything(run: Run, tmp_path: Path) -> None:
    assert program("check", str(run.path), "--severity", "critical", cwd=tmp_path).code == 0
    copy = tmp_path / "damaged"
    shutil.copytree(run.path, copy)
    victim = next((copy / "stats").iterdir())
    victim.write_bytes(victim.read_bytes()[:500])
    outcome = program("check", str(copy), "--severity", "critical", cwd=tmp_path)
    assert outcome.code == 1
    assert "damaged: not fully checked, 1 damaged place" in outcome.out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "--set", "capture.evry=3", "--", "true"], "did you mean"),
        (["run", "--set", "capture.include=[", "--", "true"], "capture.include"),
        (["run", "--set", "budget=lots", "--", "true"], "budget"),
        (["run", "--rules", "exploding_tensr", "--", "true"], "exploding_tensor"),
        (["run", "--stop-on", "loud", "--", "true"], "severity"),
        (["run", "--run-dir", "/proc/nothing/here", "--", "true"], "/proc/nothing"),
        (["run", "--", "no-such-command-at-all"], "no-such-command-at-all"),
        (["run", "--stop-on", "eror", "--", "true"], 'did you mean "error"'),
        (["run", "--rule", "nope.py", "--", "true"], "nope.py"),
        (["run", "--rule", f"{TRAIN}:Nope", "--", "true"], "Nope"),
        (["run", "python", "train.py", "--lr", "1"], "wheeltapper run -- python train.py --lr 1"),
        (["run"], "wheeltapper run -- python train.py"),
        (["show", "no-such-run"], "no-such-run"),
        (["findings", "--severity", "loud"], "loud"),
        (["nonsense"], "nonsense"),
    ],
)
def test_mistakes_are_usage_errors_that_say_what_and_how(tmp_path: Path, args: list[str], says: str) -> None:
    outcome = program(*args, cwd=tmp_path)
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert says in outcome.err
    runs = tmp_path / "wheeltapper-runs"
    started = "no-such-command-at-all" in args  # only the attempt tells that the command is missing
    assert len([path for path in runs.glob("*") if path.is_dir()]) == int(started)


def test_a_run_of_a_newer_version_is_refused_with_advice(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "newer"
    shutil.copytree(run.path, copy)
    info = json.loads((copy / "run.json").read_text())
    info["min_reader"] = 999
    (copy / "run.json").write_text(json.dumps(info))
    for verb in ("show", "findings", "check", "fsck", "report", "export"):
        outcome = program(verb, str(copy), cwd=tmp_path)
        assert outcome.code == 2
        assert "newer" in outcome.err


def test_a_webhook_gets_the_finding(tmp_path: Path) -> None:
    with receiver() as (port, bodies):
        outcome = program(
            "run",
            "--name",
            "hooked",
            "--set",
            f"actions.webhook.url=http://127.0.0.1:{port}/",
            "--set",
            "actions.webhook.allow_private=true",
            *EVERY_STEP,
            "--",
            sys.executable,
            str(TRAIN),
            "--nan-at",
            "5",
            cwd=tmp_path,
        )
    assert outcome.code == 0
    assert any(body["event"] == "opened" and body["finding"]["rule"] == "nonfinite" for body in bodies)


def test_every_query_prints_json(run: Run) -> None:
    for verb in ("ls", "show", "findings", "check", "rules", "report", "fsck", "config"):
        args = [] if verb in ("rules", "config") else [str(run.path.parent if verb == "ls" else run.path)]
        json.loads(program(verb, *args, "--json", cwd=run.path.parent).out)
    json.loads(program("explain", "nonfinite", "--json", cwd=run.path.parent).out)
