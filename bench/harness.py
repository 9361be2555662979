"""Interleaved measurement: the contestants of a goal take turns, so that noise hits all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Action = Callable[[], object]


def percentile(values: list[float], share: float) -> float:
    """Linear interpolation between closest ranks."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass
class Contestant:
    """One side of a comparison.

    Args:
        name: As shown in the table.
        action: What is timed.
        prepare: Runs before each timed call, untimed.
        every: Takes part in every n-th round only (slow peers).
        repeat: Calls in a row that make one measurement, their time divided by as many: for what
            is called in a loop, where the caches are the loop's own. 1 measures a call that finds
            the caches full of something else, as a capture does after a training step.
    """

    name: str
    action: Action
    prepare: Action | None = None
    every: int = 1
    repeat: int = 1
    seconds: list[float] = field(default_factory=list)
    by_round: dict[int, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def spread(self) -> tuple[float, float]:
        return percentile(self.seconds, 0.1), percentile(self.seconds, 0.9)


def interleave(contestants: list[Contestant], *, rounds: int, warmup: int = 1) -> None:
    """Runs the contestants in turn; the order rotates so that none always follows the same one."""
    for _ in range(warmup):
        for contestant in contestants:
            _once(contestant)
    for number in range(rounds):
        shift = number % len(contestants)
        for contestant in contestants[shift:] + contestants[:shift]:
            if number % contestant.every == 0:
                took = _once(contestant)
                contestant.seconds.append(took)
                contestant.by_round[number] = took


def _once(contestant: Contestant) -> float:
    if contestant.prepare is not None:
        contestant.prepare()
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        for _ in range(contestant.repeat):
            contestant.action()
        return (time.perf_counter() - started) / contestant.repeat
    finally:
        gc.enable()


def ratio(peer: Contestant, ours: Contestant) -> float:
    """How many times longer the peer takes: the median over the rounds in which both ran."""
    both = peer.by_round.keys() & ours.by_round.keys()
    return statistics.median(peer.by_round[i] / ours.by_round[i] for i in both)


@dataclass
class Check:
    """One line of a goal: what was asked for and what came out."""

    text: str
    wanted: str
    measured: str
    met: bool


@dataclass
class GoalResult:
    """A goal's outcome, ready to be written down."""

    number: int
    title: str
    prediction: str
    checks: list[Check]
    rows: list[tuple[str, str, str, str]]  # contestant, median, p10–p90, rounds
    notes: list[str] = field(default_factory=list)

    @property
    def met(self) -> bool:
        return all(check.met for check in self.checks)


def at_least(text: str, wanted: float, measured: float, unit: str = "×") -> Check:
    return Check(text, f"≥ {wanted:g}{unit}", f"{measured:.3g}{unit}", measured >= wanted)


def at_most(text: str, wanted: float, measured: float, unit: str = "×") -> Check:
    return Check(text, f"≤ {wanted:g}{unit}", f"{measured:.3g}{unit}", measured <= wanted)


def seconds_text(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def rows_of(contestants: list[Contestant]) -> list[tuple[str, str, str, str]]:
    rows = []
    for contestant in contestants:
        low, high = contestant.spread()
        rows.append(
            (
                contestant.name,
                seconds_text(contestant.median),
                f"{seconds_text(low)} – {seconds_text(high)}",
                str(len(contestant.seconds)),
            )
        )
    return rows
