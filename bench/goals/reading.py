"""Goals 10 and 11: opening a run with a million tensor records, and reading from it, against smdebug."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from harness import Contestant, GoalResult, at_least, at_most, interleave, ratio, rows_of

from goals import Settings
from goals.ours import Recorder, make_run
from goals.peers import SmdebugWriter

OPEN_OURS = """
import json, resource, sys, time
import wheeltapper, wheeltapper.trial
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
trial = wheeltapper.open(sys.argv[1])
names = trial.tensor_names()
took = time.perf_counter() - started
print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(names)]))
"""
OPEN_SMDEBUG = """
import json, logging, os, resource, sys, time
logging.disable(logging.CRITICAL)
os.environ["SMDEBUG_TRAINING_END_DELAY_REFRESH"] = "0"
from smdebug.trials import create_trial
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
trial = create_trial(sys.argv[1])
names = trial.tensor_names()
took = time.perf_counter() - started
print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(names)]))
"""


def _write_ours(settings: Settings, steps: int, count: int) -> Path:
    tensors = {f"layer{i // 4}.block/weight_{i}": torch.randn(16) for i in range(count)}
    recorder = Recorder(
        make_run(
            settings.folder, capture__every="1", capture__gradients="raw", budget="100%", capture__on_full="block"
        ),
        tensors,
    )
    for _ in range(steps):
        recorder.step()
    recorder.close()
    return recorder.run


def _write_smdebug(settings: Settings, steps: int, count: int) -> Path:
    from smdebug.core.access_layer.utils import training_has_ended
    from smdebug.core.collection_manager import CollectionManager

    writer = SmdebugWriter(settings.folder)
    arrays = {f"layer{i // 4}.block/weight_{i}": torch.randn(16).numpy() for i in range(count)}
    for _ in range(steps):
        writer.write(arrays)
    manager = CollectionManager()
    manager.set_num_workers(1)
    manager.export(str(writer.folder), "worker_0_collections.json")
    training_has_ended(str(writer.folder))
    return writer.folder


def _open(code: str, path: Path) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    took, kilobytes, _ = json.loads(done.stdout.splitlines()[-1])
    return took, kilobytes / 1024


def open_run(settings: Settings) -> GoalResult:
    """1000 steps × 1000 tensors; smdebug opens a tenth as many steps, since it takes minutes to write more."""
    steps, count = (100, 200) if settings.quick else (1000, 1000)
    share = 1 if settings.quick else 10
    ours = _write_ours(settings, steps, count)
    theirs = _write_smdebug(settings, steps // share, count)
    opened = [_open(OPEN_OURS, ours) for _ in range(max(3, settings.rounds // 2))]
    peer = [_open(OPEN_SMDEBUG, theirs) for _ in range(3)]
    seconds, memory = (statistics.median(values) for values in zip(*opened, strict=True))
    peer_seconds, peer_memory = (statistics.median(values) for values in zip(*peer, strict=True))
    return GoalResult(
        10,
        f"Open a run with {steps * count:,} tensor records in a cold process",
        "30 ms: footers and the step index, no table.",
        [
            at_most("seconds", 0.060, seconds, " s"),
            at_most("memory", 60, memory, " MB"),
            at_least(f"faster than smdebug (which opened 1/{share} of it)", 200 / share, peer_seconds / seconds),
            at_least(f"less memory than smdebug (1/{share} of it)", 20 / share, peer_memory / max(memory, 0.1)),
        ],
        [
            ("Wheeltapper", f"{seconds * 1e3:.1f} ms", f"{memory:.1f} MB", str(len(opened))),
            (f"smdebug, 1/{share} of the steps", f"{peer_seconds:.2f} s", f"{peer_memory:.0f} MB", str(len(peer))),
        ],
    )


def random_read(settings: Settings) -> GoalResult:
    """Values from Python: small ones, 1 Mi floats, the series of one tensor."""
    import logging

    import wheeltapper

    logging.disable(logging.CRITICAL)
    from smdebug.trials import create_trial

    steps, count = (50, 50) if settings.quick else (1000, 100)
    trial = wheeltapper.open(str(_write_ours(settings, steps, count)))
    peer = create_trial(str(_write_smdebug(settings, min(steps, 200), count)))
    names = trial.tensor_names()
    rng = random.Random(0)
    picks = [(rng.choice(names), rng.randrange(min(steps, 200))) for _ in range(200)]
    tensors = {name: (trial.tensor(name), peer.tensor(name)) for name, _ in picks}
    small = Contestant("Wheeltapper, 200 small values", lambda: [tensors[n][0].value(s) for n, s in picks])
    small_peer = Contestant("smdebug, 200 small values", lambda: [tensors[n][1].value(s) for n, s in picks])
    series = Contestant(f"Wheeltapper, {steps} values of one tensor", lambda: trial.tensor(names[0]).values())
    series_peer = Contestant("smdebug, 200 values of one tensor", lambda: peer.tensor(names[0]).values())
    big_run = make_run(
        settings.folder, capture__every="1", capture__gradients="raw", budget="100%", capture__on_full="block"
    )
    recorder = Recorder(big_run, {f"t{i}": torch.randn(1 << 20) for i in range(8)})
    for _ in range(5):
        recorder.step()
    recorder.close()
    big_trial = wheeltapper.open(str(big_run))
    big = Contestant(
        "Wheeltapper, 40 values of 1 Mi f32",
        lambda: [big_trial.tensor(f"t{i}").value(s) for i in range(8) for s in range(5)],
    )
    big_smdebug = SmdebugWriter(settings.folder)
    for _ in range(5):
        big_smdebug.write({f"t{i}": torch.randn(1 << 20).numpy() for i in range(8)})
    from smdebug.core.access_layer.utils import training_has_ended
    from smdebug.core.collection_manager import CollectionManager

    manager = CollectionManager()
    manager.set_num_workers(1)
    manager.export(str(big_smdebug.folder), "worker_0_collections.json")
    training_has_ended(str(big_smdebug.folder))
    big_peer_trial = create_trial(str(big_smdebug.folder))
    big_peer = Contestant(
        "smdebug, 40 values of 1 Mi f32",
        lambda: [big_peer_trial.tensor(f"t{i}").value(s) for i in range(8) for s in range(5)],
    )
    contestants = [small, small_peer, series, series_peer, big, big_peer]
    interleave(contestants, rounds=settings.rounds, warmup=1)
    return GoalResult(
        11,
        "Random reads from Python",
        "2 µs a small value, nothing copied for a large one, checksums on first touch.",
        [
            at_least("small value faster than smdebug", 12, ratio(small_peer, small)),
            at_least("1 Mi floats faster than smdebug", 200, ratio(big_peer, big)),
            at_least("series faster than smdebug, per value", 30, ratio(series_peer, series) * steps / min(steps, 200)),
        ],
        rows_of(contestants),
    )
