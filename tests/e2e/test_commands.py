"""The verbs on a command with several trainings: without a name the newest command is meant, not its last run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from installed import TRAIN, Outcome, as_json, program

# The first has the NaN: the last run of the command is the healthy one.
SWEEP = '"$@" --nan-at 5 --steps 20; "$@" --steps 20'


def run_sweep(folder: Path, name: str, script: str = SWEEP) -> None:
    run_dir = folder / "wheeltapper-runs" / name
    command = ("bash", "-c", script, "sweep", sys.executable, str(TRAIN))
    outcome = program("run", "--run-dir", str(run_dir), "--", *command, cwd=folder, limit=240)
    assert outcome.code == 0, outcome.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds an earlier command, too."""
    made = tmp_path_factory.mktemp("commands")
    run_sweep(made, "early", '"$@" --steps 12')
    run_sweep(made, "exp")
    return made


def test_show_without_a_name_judges_the_command_and_each_training(folder: Path) -> None:
    said = program("show", cwd=folder)
    assert said.code == 0, said
    lines = said.out.splitlines()
    assert "trainings 2" in said.out
    verdict = next(line for line in lines if line.startswith("verdict"))
    assert "run exp, the worst of 2 trainings: Critical: " in verdict
    (first,) = [line for line in lines if line.startswith("exp ")]
    (second,) = [line for line in lines if line.startswith("exp-2 ")]
    assert "finished" in first and "Critical: " in first
    assert "finished" in second and "Healthy: no findings in 20 steps" in second
    assert "wheeltapper show RUN" in said.out


def test_show_as_json_without_a_name_holds_every_training(folder: Path) -> None:
    command = as_json(program("show", "--json", cwd=folder))
    assert (command["name"], command["level"], command["findings"]) == ("exp", "critical", 1)
    assert "the worst of 2 trainings" in command["verdict"]
    first, second = command["trainings"]
    assert (first["name"], first["level"], first["steps"]) == ("exp", "critical", 20)
    assert (second["name"], second["level"], second["steps"]) == ("exp-2", "healthy", 20)


@pytest.mark.parametrize(("run", "other", "level"), [("exp", "exp-2", "healthy"), ("exp-2", "exp", "critical")])
def test_a_name_means_that_run_alone_and_json_has_the_verdicts_of_the_others(
    folder: Path, run: str, other: str, level: str
) -> None:
    said = program("show", run, cwd=folder).out
    last = said.splitlines()[-1]
    assert last.startswith("trainings ") and f"{other} " in last.replace(";", " "), "answered first, named last"
    summary = as_json(program("show", run, "--json", cwd=folder))
    assert summary["name"] == run
    assert summary["steps"] == 20
    levels = {training["name"]: training["level"] for training in summary["trainings"]}
    assert levels == {"exp": "critical", "exp-2": "healthy"}
    assert levels[other] == level


def test_findings_without_a_name_are_those_of_all_trainings(folder: Path) -> None:
    said = program("findings", cwd=folder)
    assert said.out.startswith("run exp: critical[nonfinite]")
    (finding,) = as_json(program("findings", "--json", cwd=folder))
    assert (finding["rule"], finding["run"]) == ("nonfinite", "exp")
    assert program("findings", "--severity", "error", cwd=folder).code == 1
    assert as_json(program("findings", "exp-2", "--json", cwd=folder)) == []
    assert "exp and exp-2" in program("findings", "--rule", "dead_relu", cwd=folder).err


def test_check_without_a_name_ends_with_the_worst_of_all_trainings(folder: Path) -> None:
    said = program("check", cwd=folder)
    assert said.code == 1, said
    assert "exp: 1 finding from" in said.out and "exp-2: no findings from" in said.out
    assert said.out.splitlines()[-1] == "2 runs: 1 finding, the worst critical, in run exp"
    (finding,) = json.loads(program("check", "--json", cwd=folder).out)
    assert finding["run"] == "exp"
    assert program("check", "exp-2", cwd=folder).code == 0


def test_report_without_a_name_writes_that_of_each_training(folder: Path) -> None:
    said = program("report", cwd=folder)
    assert [Path(line).parts[-3] for line in said.out.splitlines()] == ["exp", "exp-2"]


@pytest.mark.parametrize(
    "verb", [("export",), ("fsck",), ("report", "-o", "page.html"), ("report", "--json")], ids=" ".join
)
def test_a_verb_that_takes_one_run_says_which_there_are(folder: Path, verb: tuple[str, ...]) -> None:
    said = program(*verb, cwd=folder)
    assert said.code == 2
    assert "2 trainings" in said.err and "exp and exp-2" in said.err
    assert program(*verb, "exp-2", cwd=folder).code == 0


def test_ls_says_whose_training_a_run_is(folder: Path) -> None:
    rows = as_json(program("ls", "--json", cwd=folder))
    assert [(row["name"], row["first_run"]) for row in rows] == [("early", None), ("exp", None), ("exp-2", "exp")]
    (line,) = [line for line in program("ls", cwd=folder).out.splitlines() if line.startswith("exp-2 ")]
    assert line.endswith(" (a training of exp)")


def test_a_training_that_cannot_be_read_is_a_line_of_its_own(tmp_path: Path) -> None:
    run_sweep(tmp_path, "exp")
    (tmp_path / "wheeltapper-runs" / "exp-2" / "run.json").write_text("{")
    said: Outcome = program("show", cwd=tmp_path)
    assert said.code == 1, said
    (line,) = [line for line in said.out.splitlines() if line.startswith("exp-2 ")]
    assert "unreadable" in line
    assert "exp " in said.out and "Critical: " in said.out
    checked = program("check", cwd=tmp_path)
    assert checked.code == 1
    assert "exp: 1 finding from" in checked.out and "run.json" in checked.err
    (tmp_path / "wheeltapper-runs" / "exp-2" / "findings.jsonl").unlink(missing_ok=True)
    (tmp_path / "wheeltapper-runs" / "exp-2" / "findings.jsonl").mkdir()
    listed = program("findings", cwd=tmp_path)
    assert listed.code == 1
    assert listed.out.startswith("run exp: critical[nonfinite]") and "error: exp-2: " in listed.err
