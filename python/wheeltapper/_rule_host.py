"""Runs a rule of a file for the watcher, or lists those in it: `python -m wheeltapper._rule_host`.

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


def make_rule(greeting: dict[str, Any]) -> tuple[Any, Rule]:
    """The trial and the rule that the watcher's first line asks for."""
    classes = load_rules(greeting["file"], greeting["class"])
    if len(classes) > 1:
        names = ", ".join(rule.__name__ for rule in classes)
        raise LookupError(f'loading a rule: there are several in "{greeting["file"]}": name one of them: {names}')
    parameters: dict[str, Any] = {key: _value_of(text) for key, text in greeting["parameters"].items()}
    trial = wheeltapper.open(greeting["run"])
    return trial, classes[0](trial, **parameters)


def evaluate(trial: Any, rule: Rule, step: int) -> dict[str, Any]:
    """What the rule has to say about a step, and why it passed it over where it did."""
    trial.refresh()
    observations = [observation.as_dict() for observation in rule.invoke(step)]
    answer: dict[str, Any] = {"done": step, "observations": observations}
    return {**answer, "passed_over": rule.passed_over[:MAX_ERROR_CHARS]} if rule.passed_over else answer


def serve(requests: TextIO, answer: Callable[[dict[str, Any]], None]) -> None:
    """Answers the watcher until it closes the pipe; an exception of a rule ends it."""
    try:
        greeting = json.loads(requests.readline())
        if not greeting["run"]:
            answer({"ready": True, "rules": [rule.__name__ for rule in load_rules(greeting["file"], "")]})
            requests.readline()  # until the watcher has read that
            return
        trial, rule = make_rule(greeting)
        answer({"ready": True})
        for line in requests:
            step = json.loads(line)["step"]
            answer(evaluate(trial, rule, step))
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
