"""Goal 12: a real training loop with everything captured at every step, and how soon others see it."""

from __future__ import annotations

import logging
import statistics
import subprocess
import sys
import time

from harness import Contestant, GoalResult, at_least, at_most, interleave, ratio, rows_of

from goals import Settings
from goals.char_transformer import Training, corpus
from goals.ours import Recorder, make_run

STEPS = 10  # per timed call

FOLLOW = """
import sys, time
import wheeltapper
trial = wheeltapper.open(sys.argv[1])
seen = set(trial.steps())
print("ready", flush=True)
give_up = time.monotonic() + 60
while len(seen) < int(sys.argv[2]) and time.monotonic() < give_up:
    trial.refresh()
    for step in trial.steps():
        if step not in seen:
            seen.add(step)
            print(step, time.clock_gettime_ns(time.CLOCK_MONOTONIC), flush=True)
    time.sleep(0.0002)
"""


class OursLoop:
    """The loop with raw tensors and statistics of 300 tensors at every step."""

    def __init__(self, training: Training, settings: Settings, **capture: str) -> None:
        self.training = training
        training.backward()  # the gradients exist from here on
        parameters = dict(training.model.named_parameters())
        tensors = {f"gradient/{name}": p.grad for name, p in parameters.items()} | {
            name: p.detach() for name, p in parameters.items()
        }
        self.recorder = Recorder(
            make_run(settings.folder, capture__every="1", budget="100%", capture__on_full="block", **capture), tensors
        )
        self.count = len(tensors)

    def run(self) -> None:
        for _ in range(STEPS):
            self.training.backward()
            self.recorder.step()
            self.training.optimizer.step()


class SmdebugLoop:
    """The loop with smdebug's PyTorch hook."""

    def __init__(self, training: Training, settings: Settings, *, reductions: bool, tag: str) -> None:
        logging.getLogger("smdebug").setLevel(logging.ERROR)
        import smdebug.pytorch as smd

        self.training = training
        config = (
            smd.ReductionConfig(
                reductions=["min", "max", "mean", "std", "variance", "sum", "prod"],
                abs_reductions=["min", "max", "mean", "std", "variance", "sum", "prod"],
                norms=["l1", "l2"],
                abs_norms=["l1", "l2"],
            )
            if reductions
            else smd.ReductionConfig(save_raw_tensor=True)
        )
        hook = smd.Hook(
            out_dir=str(settings.folder / f"smdebug-hook-{tag}"),
            save_config=smd.SaveConfig(save_interval=1),
            reduction_config=config,
            include_collections=["weights", "biases", "gradients"],
        )
        hook.register_module(training.model)
        self.hook = hook

    def run(self) -> None:
        for _ in range(STEPS):
            self.training.step()


def _visibility(settings: Settings) -> list[float]:
    """Milliseconds from FinishStep's return to the step being visible in another process."""
    import torch

    steps = 50 if settings.quick else 200
    recorder = Recorder(make_run(settings.folder, capture__every="1", budget="100%"), {"t": torch.randn(1 << 14)})
    recorder.step()
    recorder.flush()
    follower = subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(recorder.run), str(steps + 1)], stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout is not None
    follower.stdout.readline()
    committed = {}
    for step in range(1, steps + 1):
        time.sleep(0.01)
        recorder.step()
        committed[step] = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    out, _ = follower.communicate(timeout=120)
    recorder.discard()
    seen = {int(step): int(at) for step, at in (line.split() for line in out.splitlines())}
    return [(seen[step] - committed[step]) / 1e6 for step in committed if step in seen]


def end_to_end(settings: Settings) -> GoalResult:
    """12-layer character transformer, about 300 tensors, every step."""
    text = corpus()
    plain = Training(text)
    ours = OursLoop(
        Training(text),
        settings,
        capture__gradients="raw",
        capture__weights="raw",
        capture__biases="raw",
        capture__reductions="product",
    )
    raw = SmdebugLoop(Training(text), settings, reductions=False, tag="raw")
    reductions = SmdebugLoop(Training(text), settings, reductions=True, tag="reductions")
    # Nobody is measured while the disk still has what ours wrote before.
    flush = ours.recorder.flush
    none = Contestant(f"no capture, {STEPS} steps", lambda: [plain.step() for _ in range(STEPS)], flush)
    wheel = Contestant(f"Wheeltapper, raw and all statistics of {ours.count} tensors", ours.run, flush)
    smdebug_raw = Contestant("smdebug, raw", raw.run, flush, every=15)
    smdebug_reductions = Contestant("smdebug, 18 reductions", reductions.run, flush, every=25)
    contestants = [none, wheel, smdebug_raw, smdebug_reductions]
    # The loop itself is no steadier than what is to be told apart: many rounds of the two that are quick.
    interleave(contestants, rounds=settings.rounds * 5, warmup=1)
    ours.recorder.discard()
    overhead = 1 / ratio(none, wheel) - 1
    delays = _visibility(settings)
    return GoalResult(
        12,
        "End to end: every tensor at every step of a real loop",
        "2 to 7 % for raw tensors and all statistics; visible to others after 1 to 2 ms.",
        [
            at_most("overhead, %", 5, overhead * 100, " %"),
            at_least("smdebug raw, of the plain loop", 2.5, ratio(smdebug_raw, none)),
            at_least("smdebug 18 reductions, of the plain loop", 20, ratio(smdebug_reductions, none)),
            at_most("commit to visible elsewhere, median", 3, statistics.median(delays), " ms"),
        ],
        rows_of(contestants),
        [
            f"{len(delays)} steps were followed from another process.",
            "That 200 SIGKILLs lose no committed step is a test, not a benchmark: ctest -R capture.*Sigkill.",
        ],
    )
