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

# A process of its own: imports, opens the run when one is given, says how long that took, its peak
# memory and what it found. VmHWM and not ru_maxrss, which a process inherits from its parent.
_OPEN = """
import json, sys, time
{imports}
took, found = 0.0, [0, 0]
if len(sys.argv) > 1:
    started = time.perf_counter()
    trial = {open}(sys.argv[1])
    names = trial.tensor_names()
    took = time.perf_counter() - started
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
if len(sys.argv) > 1:
    found = [len(names), len(trial.steps())]
print(json.dumps([took, peak, *found]))
"""
OPEN_OURS = _OPEN.format(imports="import wheeltapper, wheeltapper.trial", open="wheeltapper.open")
OPEN_SMDEBUG = _OPEN.format(
    imports="""import logging, os
logging.disable(logging.CRITICAL)
os.environ["SMDEBUG_TRAINING_END_DELAY_REFRESH"] = "0"
from smdebug.trials import create_trial""",
    open="create_trial",
)
# Loops over single values in a row: see Contestant.repeat.
_REPEAT = 5
# The kernel counts resident pages in batches per core: less than this is nothing.
_RESOLUTION_MB = 0.5


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


def _run_child(code: str, *arguments: str) -> tuple[float, float, int, int]:
    """Seconds, peak MB, names, steps."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    took, kilobytes, names, steps = json.loads(done.stdout.splitlines()[-1])
    return took, kilobytes / 1024, names, steps


def _open(code: str, path: Path, records: tuple[int, int], rounds: int) -> tuple[float, float, float]:
    """Medians: seconds to open, the peak MB that it adds to a process that only imports, and the latter's."""
    seconds, peaks, idle = [], [], []
    for _ in range(rounds):
        idle.append(_run_child(code)[1])
        took, peak, *found = _run_child(code, str(path))
        if tuple(found) != records:
            raise RuntimeError(f"opened {found} names and steps, {records} were written")
        seconds.append(took)
        peaks.append(peak)
    imported = statistics.median(idle)
    return statistics.median(seconds), statistics.median(peaks) - imported, imported


def open_run(settings: Settings) -> GoalResult:
    """1000 steps × 1000 tensors, the same for both."""
    steps, count = (200, 500) if settings.quick else (1000, 1000)
    ours = _write_ours(settings, steps, count)
    theirs = _write_smdebug(settings, steps, count)
    rounds = max(5, settings.rounds)
    seconds, memory, imported = _open(OPEN_OURS, ours, (count, steps), rounds)
    peer_seconds, peer_memory, peer_imported = _open(OPEN_SMDEBUG, theirs, (count, steps), 3)
    return GoalResult(
        10,
        f"Open a run with {steps * count:,} tensor records in a cold process",
        "30 ms: footers and the step index, no table.",
        [
            at_most("seconds", 0.060, seconds, " s"),
            at_most("memory", 60, memory, " MB"),
            at_least("faster than smdebug", 200, peer_seconds / seconds),
            at_least("less memory than smdebug", 20, peer_memory / max(memory, _RESOLUTION_MB)),
        ],
        [
            ("Wheeltapper", f"{seconds * 1e3:.1f} ms", f"{memory:.1f} MB", str(rounds)),
            ("smdebug", f"{peer_seconds:.2f} s", f"{peer_memory:.1f} MB", "3"),
        ],
        [
            "Memory: the peak of a fresh process that imports and opens, less the peak of one that only imports "
            f"({imported:.1f} MB ours, {peer_imported:.1f} MB smdebug); at least {_RESOLUTION_MB} MB, which is what "
            "the kernel can tell apart. Both grow with the records: the ratio is the goal's at a million only.",
        ],
    )


def random_read(settings: Settings) -> GoalResult:
    """Values from Python: small ones, 1 Mi floats, the series of one tensor."""
    import logging

    import wheeltapper

    logging.disable(logging.CRITICAL)
    from smdebug.trials import create_trial

    # Always the goal's 1000 steps: of a shorter series the fixed part of a call is what is measured.
    steps, count = 1000, 10 if settings.quick else 100
    trial = wheeltapper.open(str(_write_ours(settings, steps, count)))
    peer = create_trial(str(_write_smdebug(settings, steps, count)))
    names = trial.tensor_names()
    rng = random.Random(0)
    picks = [(rng.choice(names), rng.randrange(steps)) for _ in range(200)]
    tensors = {name: (trial.tensor(name), peer.tensor(name)) for name, _ in picks}
    small_reads = [lambda side=side: [tensors[n][side].value(s) for n, s in picks] for side in (0, 1)]
    small = Contestant("Wheeltapper, 200 small values", small_reads[0], repeat=_REPEAT)
    small_peer = Contestant("smdebug, 200 small values", small_reads[1], repeat=_REPEAT)
    cold = Contestant("Wheeltapper, 200 small values, after other work", small_reads[0])
    cold_peer = Contestant("smdebug, 200 small values, after other work", small_reads[1])
    series = Contestant(f"Wheeltapper, {steps} values of one tensor", lambda: trial.tensor(names[0]).values())
    series_peer = Contestant(f"smdebug, {steps} values of one tensor", lambda: peer.tensor(names[0]).values())
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
        repeat=_REPEAT,
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
        repeat=_REPEAT,
    )
    contestants = [small, small_peer, cold, cold_peer, series, series_peer, big, big_peer]
    interleave(contestants, rounds=settings.rounds, warmup=1)
    return GoalResult(
        11,
        "Random reads from Python",
        "2 µs a small value, nothing copied for a large one, checksums on first touch.",
        [
            at_least("small value faster than smdebug", 12, ratio(small_peer, small)),
            at_least("the same, after other work", 12, ratio(cold_peer, cold)),
            at_least("1 Mi floats faster than smdebug", 200, ratio(big_peer, big)),
            at_least(f"series of {steps} steps faster than smdebug", 30, ratio(series_peer, series)),
        ],
        rows_of(contestants),
        [
            f"Values one by one are read {_REPEAT} times in a row, as an analysis does that loops over them; "
            "after other work the caches are full of something else."
        ],
    )
