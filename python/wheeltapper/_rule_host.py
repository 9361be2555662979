"""Runs one file of rules for the watcher: `python -m wheeltapper._rule_host`.

The protocol (JSON lines on stdin and stdout) is written down in
src/rules/include/wheeltapper/rules/python_rules.h. What the rule prints goes to stderr, so it
cannot break the protocol.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import wheeltapper
from wheeltapper.rules import Rule

MAX_ERROR_CHARS = 2000


def load_rules(path: str, class_name: str) -> list[type[Rule]]:
    """The rule of that name in the file, or all that are defined in it."""
    sys.path.insert(0, str(Path(path).parent))
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f'loading a rule: no Python file: "{path}"')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = _rules_in(module)
    if class_name:
        found = [rule for rule in found if rule.__name__ == class_name]
    if not found:
        wanted = f'class "{class_name}"' if class_name else "class"
        raise LookupError(f'loading a rule: no {wanted} made from wheeltapper.Rule in "{path}"')
    return found


def _rules_in(module: ModuleType) -> list[type[Rule]]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Rule)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]


def _converted(text: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(text)
    except ValueError:
        return None


def _value_of(text: str) -> bool | int | float | str:
    """Parameters come as text: "true", "3" and "0.1" become what they look like."""
    if text in {"true", "false"}:
        return text == "true"
    whole = _converted(text, int)
    number = _converted(text, float) if whole is None else whole
    return text if number is None else number


def make_rules(greeting: dict[str, Any]) -> tuple[Any, list[Rule]]:
    """The trial and the rules that the watcher's first line asks for."""
    classes = load_rules(greeting["file"], greeting["class"])
    parameters: dict[str, Any] = {key: _value_of(text) for key, text in greeting["parameters"].items()}
    trial = wheeltapper.open(greeting["run"])
    return trial, [rule(trial, **parameters) for rule in classes]


def evaluate(trial: Any, rules: list[Rule], step: int) -> dict[str, Any]:
    """What the rules have to say about a step, and which of them passed it over and why."""
    trial.refresh()
    observations: list[dict[str, str]] = []
    passed_over = {}
    for rule in rules:
        name = rule.rule_name if len(rules) > 1 else ""
        label = {"rule": name} if name else {}
        observations += [observation.as_dict() | label for observation in rule.invoke(step)]
        if rule.passed_over:
            passed_over[name] = rule.passed_over[:MAX_ERROR_CHARS]
    answer: dict[str, Any] = {"done": step, "observations": observations}
    return {**answer, "passed_over": passed_over} if passed_over else answer


def serve(requests: TextIO, answer: Callable[[dict[str, Any]], None]) -> None:
    """Answers the watcher until it closes the pipe; an exception of a rule ends it."""
    try:
        trial, rules = make_rules(json.loads(requests.readline()))
        answer({"ready": True})
        for line in requests:
            step = json.loads(line)["step"]
            answer(evaluate(trial, rules, step))
    except Exception as error:  # noqa: BLE001 - whatever a user's rule raises, the watcher is told
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        text = f"{type(error).__name__}: {error} ({where})"
        answer({"error": text[:MAX_ERROR_CHARS]})


def main() -> None:
    """Keeps the pipe to the watcher for the protocol and sends everything printed to stderr."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    serve(sys.stdin, answer)


if __name__ == "__main__":
    main()
