"""What people are told about runs: never that all is well when nobody looked or the job died."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from installed import ROOT, TRAIN, as_json, program
from receiver import receiver

EVERY_STEP = ("--set", "capture.every=1")
GUIDE = ROOT / "docs" / "guide" / "custom-rules.md"

ATTACHED = """
import sys
import torch
import wheeltapper

torch.manual_seed(0)
model = torch.nn.Sequential()
model.add_module("classifier", torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
wheeltapper.attach(model, optimizer)
for step in range(40):
    optimizer.zero_grad()
    loss = model(torch.ones(8, 4)).square().mean()
    if sys.argv[1:] == ["nan"] and step >= 20:
        loss = loss * float("nan")
    loss.backward()
    optimizer.step()
"""


def attached(folder: Path, *args: str) -> Path:
    """The run of a script that calls `attach` by itself, without a watcher."""
    script = folder / "attached.py"
    script.write_text(ATTACHED)
    subprocess.run([sys.executable, str(script), *args], cwd=folder, check=True, timeout=300)
    (run,) = (path for path in (folder / "wheeltapper-runs").iterdir() if path.is_dir())
    return run


LOGS_NAN_ONCE = """
import math
import wheeltapper

for step in range(20):
    wheeltapper.step()
    wheeltapper.log({"train_loss": math.nan if step == 5 else 1.0})
"""


def test_quiet_leaves_only_findings_that_open_and_errors(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(LOGS_NAN_ONCE)
    command = ("--", sys.executable, "job.py")
    loud = program("run", "--name", "loud", *command, cwd=tmp_path)
    quiet = program("run", "-q", "--name", "quiet", *command, cwd=tmp_path)
    assert "wheeltapper: resolved: critical[nonfinite]" in loud.err
    lines = [line for line in quiet.err.splitlines() if line.startswith("wheeltapper:")]
    assert [line.partition(":")[2].partition(":")[0] for line in lines] == [" critical[nonfinite]"], quiet.err

    loud = program("check", "loud", cwd=tmp_path)
    quiet = program("check", "-q", "loud", cwd=tmp_path)
    assert "rules overfit, overtraining had nothing to look at" in loud.err
    assert loud.err.count("no validation loss was seen") == 1
    assert "1 finding from" in loud.out
    assert quiet.err == ""
    assert loud.out.startswith(quiet.out)
    assert quiet.out.startswith("critical[nonfinite]")
    assert "1 finding from" not in quiet.out
    for verb in ("run", "check"):
        assert "Left out:" in program(verb, "--help", cwd=tmp_path).out


BREAKS_AT_27 = """
import torch
from torch import nn


class Ratio(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x / x.detach().abs().max() * (float("nan") if self.calls == 28 else 1.0)


torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential()
model.add_module("first", nn.Linear(8, 16))
model.add_module("ratio", Ratio())
model.add_module("last", nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
inputs = torch.randn(64, 8)
for step in range(40):
    optimizer.zero_grad()
    nn.functional.mse_loss(model(inputs), inputs[:, :1]).backward()
    optimizer.step()
"""


def test_the_command_that_is_advised_finds_where_nan_began(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(BREAKS_AT_27)
    job = [sys.executable, "train.py"]

    def nonfinite_of(name: str, *flags: str) -> dict[str, Any]:
        outcome = program("run", *flags, "--name", name, "--", *job, cwd=tmp_path)
        assert outcome.code == 0, outcome
        findings = as_json(program("findings", name, "--json", cwd=tmp_path))
        return next(finding for finding in findings if finding["rule"] == "nonfinite")

    first = nonfinite_of("first")
    assert (first["tensor"], first["step"]) == ("loss/backward", 27)
    assert "tensors were not captured at step 27" in first["cause"]
    advised = re.search(r"wheeltapper run (--.*) -- COMMAND", first["try"])
    assert advised is not None, first["try"]
    again = nonfinite_of("again", *shlex.split(advised[1]))
    assert (again["tensor"], again["module"], again["step"]) == ("output/ratio", "ratio", 27)
    captured = as_json(program("show", "again", "--json", cwd=tmp_path))
    assert captured["captured_steps"] < captured["steps"], "only from there on"


def test_a_run_that_no_rule_looked_at_is_not_called_healthy_until_it_is_checked(tmp_path: Path) -> None:
    run = attached(tmp_path, "nan")
    summary = as_json(program("show", "--json", cwd=tmp_path))
    assert summary["level"] == "not checked"
    assert "Not checked: no rules ran over it; run `wheeltapper check" in program("show", cwd=tmp_path).out
    report = program("report", "-o", "report.html", cwd=tmp_path)
    assert report.code == 0, report
    assert "Not checked" in (tmp_path / "report.html").read_text()

    partly = program("check", run.name, "--rules", "vanishing_gradient", cwd=tmp_path)
    assert partly.code == 0, partly
    assert as_json(program("show", "--json", cwd=tmp_path))["level"] == "not checked"

    outcome = program("check", run.name, cwd=tmp_path)
    assert outcome.code == 1, outcome
    assert "recorded" in outcome.err
    assert as_json(program("show", "--json", cwd=tmp_path))["level"] in ("error", "critical")


def test_a_sound_run_is_healthy_once_it_was_checked(tmp_path: Path) -> None:
    run = attached(tmp_path)
    assert program("check", run.name, cwd=tmp_path).code == 0
    assert as_json(program("show", "--json", cwd=tmp_path))["level"] == "healthy"


# Its third input is always 0, and at step 30 the loss is another one.
JUMPS = ATTACHED.replace(
    "optimizer = ", "with torch.no_grad():\n    model.classifier.weight[:, 2] = 0\noptimizer = "
).replace(
    "model(torch.ones(8, 4)).square().mean()",
    "(model(torch.ones(8, 4) * torch.tensor([1.0, 1.0, 0.0, 1.0])) - 1).square().mean() * (1000 if step == 30 else 1)",
)

RAW_RULES = """
import wheeltapper


class Raw(wheeltapper.Rule):
    def __init__(self, base_trial, *, name):
        super().__init__(base_trial)
        self.name = name

    def invoke_at_step(self, step):
        value = self.base_trial.tensor(self.name).value(step)
        if step == 3:
            self.report(f"its shape is {value.shape}, its sum {value.sum():.6g}")
"""


@pytest.mark.parametrize("name", ["classifier.weight", "classifier.bias", "gradient/classifier.weight"])
def test_the_flag_that_is_advised_for_raw_values_keeps_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "raw.py").write_text(RAW_RULES)
    (tmp_path / "attached.py").write_text(ATTACHED)
    rule = ("--rule", "raw.py:Raw", "--set", f"rules.raw.name={name}")
    script = ("--", sys.executable, "attached.py")
    program("run", *EVERY_STEP, *rule, *script, cwd=tmp_path)
    shown = program("show", cwd=tmp_path).out
    advised = re.search(r"`wheeltapper run (--set \S+)` keeps them", shown)
    assert advised, shown
    again = program("run", *EVERY_STEP, *rule, *shlex.split(advised[1]), *script, cwd=tmp_path)
    assert "its shape is" in again.err


def test_a_rule_reads_the_loss_of_a_step_without_any_setting(tmp_path: Path) -> None:
    (tmp_path / "raw.py").write_text(RAW_RULES)
    (tmp_path / "attached.py").write_text(ATTACHED)
    rule = ("--rule", "raw.py:Raw", "--set", "rules.raw.name=loss/backward")
    outcome = program("run", *rule, "--", sys.executable, "attached.py", cwd=tmp_path)
    assert "its shape is ()" in outcome.err, outcome.err


def guide_rule(folder: Path, name: str = "my_rule.py") -> Path:
    """A file of the guide, copied as a reader would."""
    (source,) = re.findall(rf"```python\n(# {name}\n.*?)```", GUIDE.read_text(), re.DOTALL)
    path = folder / name
    path.write_text(source)
    return path


def test_the_file_of_two_rules_of_the_guide_works_as_it_is_printed(tmp_path: Path) -> None:
    guide_rule(tmp_path, "my_rules.py")
    (tmp_path / "attached.py").write_text(JUMPS)
    flags = ("--rule", "my_rules.py", "--set", "capture.weights=raw")
    outcome = program("run", "--name", "two", *flags, "--", sys.executable, "attached.py", cwd=tmp_path)
    assert "failed" not in outcome.err, outcome.err
    found = {row["rule"]: row for row in as_json(program("findings", "two", "--json", cwd=tmp_path))}
    assert {"loss_jumps", "input_not_used"} <= set(found)
    assert found["loss_jumps"]["step"] == 30
    assert found["loss_jumps"]["tensor"] == "loss/backward"
    assert found["input_not_used"]["message"].startswith("input 2 of classifier.weight")
    program("run", "--name", "one", *flags, "--ignore", "loss_jumps", "--", sys.executable, "attached.py", cwd=tmp_path)
    assert "loss_jumps" not in {row["rule"] for row in as_json(program("findings", "one", "--json", cwd=tmp_path))}


@pytest.mark.parametrize("limit", ["10.0", "0.01"])
def test_the_rule_of_the_guide_works_as_it_is_printed(tmp_path: Path, limit: str) -> None:
    guide_rule(tmp_path)
    attached(tmp_path)
    wanted = [] if limit == "10.0" else ["weights_too_large"]
    rule = ("--rule", "my_rule.py:WeightsTooLarge", "--set", f"rules.weights_too_large.limit={limit}")
    # Few captures: most steps lack the weight.
    script = ("--", sys.executable, "attached.py")
    outcome = program("run", "--name", "live", "--set", "capture.every=20", *rule, *script, cwd=tmp_path)
    assert outcome.code == 0, outcome
    assert "failed" not in outcome.err
    assert [row["rule"] for row in as_json(program("findings", "live", "--json", cwd=tmp_path))] == wanted
    checked = program("check", "live", *rule, cwd=tmp_path)
    assert checked.code == len(wanted), checked
    assert "failed" not in checked.err
    assert "explain weights_too_large" not in checked.out
    unknown = program("findings", "live", "--rule", "WeightsTooLarge", cwd=tmp_path)
    assert unknown.code == 2
    assert 'did you mean "weights_too_large"' in unknown.err


def test_a_rule_that_asks_for_a_name_the_run_never_has_is_told(tmp_path: Path) -> None:
    rule = guide_rule(tmp_path)
    rule.write_text(rule.read_text().replace("classifier.weight", "clasifier.weight"))
    run = attached(tmp_path)
    outcome = program("check", run.name, "--rule", "my_rule.py:WeightsTooLarge", cwd=tmp_path)
    assert outcome.code == 0, outcome
    assert "weights_too_large had nothing to look at: every step was passed over" in outcome.err
    assert "clasifier.weight" in outcome.err


def test_a_job_that_raised_is_not_called_healthy(tmp_path: Path) -> None:
    command = (sys.executable, str(TRAIN), "--raise-at", "1")
    outcome = program("run", "--name", "raised", *EVERY_STEP, "--", *command, cwd=tmp_path)
    assert outcome.code == 1
    summary = as_json(program("show", "raised", "--json", cwd=tmp_path))
    assert summary["verdict"].startswith("Failed with exit code 1 after 1 step; the rules found nothing")
    assert summary["level"] == "failed"


def test_a_job_that_was_killed_is_not_called_healthy(tmp_path: Path) -> None:
    source = TRAIN.read_text() + "\nos.kill(os.getpid(), 9)\n"
    script = tmp_path / "killed.py"
    script.write_text(source.replace("sys.exit(args.exit_code)", ""))
    outcome = program("run", "--name", "killed", *EVERY_STEP, "--", sys.executable, str(script), cwd=tmp_path)
    assert outcome.code == 128 + signal.SIGKILL
    summary = as_json(program("show", "killed", "--json", cwd=tmp_path))
    assert summary["verdict"].startswith("Killed by signal 9 after ")
    assert summary["level"] == "failed"


def test_a_run_that_the_user_interrupts_says_so_and_what_was_found_until_then(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(
        "import time\n"
        "import torch\n"
        "torch.manual_seed(0)\n"
        "model = torch.nn.Linear(4, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.01)\n"
        "for step in range(21):\n"
        "    optimizer.zero_grad()\n"
        "    x = torch.randn(8, 4)\n"
        "    (model(x) - x.sum(1, keepdim=True)).square().mean().backward()\n"
        "    optimizer.step()\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    watcher = subprocess.Popen(
        # A process that was started to ignore Ctrl-C, as a worker of pytest is, passes that on.
        [
            "env",
            "--default-signal=INT",
            "wheeltapper",
            "run",
            "--name",
            "endless",
            *EVERY_STEP,
            "--",
            sys.executable,
            str(script),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "ready\n"
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=120)
    assert watcher.returncode == 128 + signal.SIGINT
    assert "wheeltapper: interrupted by the user (SIGINT): " in err
    assert "signal 2" not in err
    end = json.loads((tmp_path / "wheeltapper-runs" / "endless" / "END").read_text())
    assert (end["state"], end["reason"]) == ("interrupted", "interrupted by the user (SIGINT)")
    shown = program("show", "endless", cwd=tmp_path).out
    assert "interrupted, exit code 130, interrupted by the user (SIGINT)" not in shown  # said once
    assert re.search(r"state +interrupted by the user \(SIGINT\), exit code 130\n", shown)
    summary = as_json(program("show", "endless", "--json", cwd=tmp_path))
    assert summary["state"] == "interrupted"
    assert summary["reason"] == "interrupted by the user (SIGINT)"
    assert re.match(r"Interrupted by the user \(SIGINT\) at step 20; no findings until then", summary["verdict"])
    assert as_json(program("ls", "--json", cwd=tmp_path))[0]["state"] == "interrupted"


def test_an_action_that_cannot_be_carried_out_is_told_live_and_afterwards(tmp_path: Path) -> None:
    (tmp_path / "wheeltapper.toml").write_text('[actions.command]\nargv = ["/no/such/pager"]\non = "info"\n')
    command = (sys.executable, str(TRAIN), "--nan-at", "5")
    outcome = program("run", "--name", "acted", *EVERY_STEP, "--", *command, cwd=tmp_path)
    assert outcome.code == 0
    assert outcome.err.count("/no/such/pager") == 1, outcome.err
    assert "/no/such/pager" in program("show", "acted", cwd=tmp_path).out


def test_what_a_failing_command_wrote_is_told_and_kept(tmp_path: Path) -> None:
    script = tmp_path / "page.sh"
    script.write_text(
        "#!/bin/sh\ncat > /dev/null\necho on its way\nprintf 'no route to \\377pager\\n\\n' >&2\nexit 3\n"
    )
    script.chmod(0o755)
    (tmp_path / "wheeltapper.toml").write_text(f'[actions.command]\nargv = ["{script}"]\non = "info"\n')
    command = (sys.executable, str(TRAIN), "--nan-at", "5")
    outcome = program("run", "--name", "acted", *EVERY_STEP, "--", *command, cwd=tmp_path)
    assert outcome.code == 0
    wrote = "exit code 3; it wrote: no route to \ufffdpager"
    assert wrote in outcome.err
    assert wrote in program("show", "acted", cwd=tmp_path).out
    lines = (tmp_path / "wheeltapper-runs" / "acted" / "actions.jsonl").read_text().splitlines()
    failed = [record for record in map(json.loads, lines) if record["outcome"] == "failed"]
    assert failed
    assert {record["output"] for record in failed} == {"on its way\nno route to \ufffdpager\n\n"}


def test_an_alert_whose_receiver_was_down_is_said_and_delivered_by_the_next_run(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "wheeltapper.toml").write_text(
        f'[actions.webhook]\nurl = "http://127.0.0.1:{port}/T000-secret"\nallow_private = true\non = "error"\n'
    )
    command = (sys.executable, str(TRAIN), "--nan-at", "5")
    down = program("run", "--name", "down", "--stop-on", "nonfinite", *EVERY_STEP, "--", *command, cwd=tmp_path)
    assert down.code == 4, down
    kept = tmp_path / "wheeltapper-runs" / "down" / "actions"
    said = re.search(r"warning: (\d+) messages? not delivered \(webhook\): kept in (\S+), and sent by", down.err)
    assert said, down.err
    assert (int(said[1]), Path(said[2])) == (len(list(kept.glob("*.json"))), kept)
    assert not any(b"T000-secret" in path.read_bytes() for path in kept.iterdir())

    off = program("run", "--name", "off", "--set", "actions.webhook.url=", "--", "true", cwd=tmp_path)
    assert off.code == 0, off
    assert "actions.webhook is not configured any more" in off.err
    with receiver(port) as (_, bodies):
        up = program("run", "--name", "up", "--", "true", cwd=tmp_path)
    assert up.code == 0, up
    assert {body["run"] for body in bodies} == {"down"}
    assert len(bodies) == int(said[1])
    assert "nonfinite" in {body["finding"]["rule"] for body in bodies}
    assert not list(kept.glob("*.json"))
    records = [json.loads(line) for line in (kept.parent / "actions.jsonl").read_text().splitlines()]
    assert records[-1]["outcome"] == "done"
    with receiver(port) as (_, again):
        program("run", "--name", "later", "--", "true", cwd=tmp_path)
    assert again == []
