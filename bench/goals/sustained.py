"""Goal 4: raw tensors to disk without a pause, against O_DIRECT and smdebug."""

from __future__ import annotations

import mmap
import os
import resource

import numpy as np
import torch
from harness import Contestant, GoalResult, at_least, at_most, interleave, ratio, rows_of

from goals import Settings
from goals.ours import Recorder, make_run
from goals.peers import SmdebugWriter

BLOCK = 8 << 20


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def sustained(settings: Settings) -> GoalResult:
    """4 steps of 100 × 1 Mi f32 through a ring smaller than a step, until all of it is in files."""
    count, steps = (25, 2) if settings.quick else (100, 4)
    tensors = {f"t{i}": torch.randn(1 << 20) for i in range(count)}
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    nbytes = count * steps * 4 << 20
    recorder = Recorder(
        make_run(
            settings.folder,
            capture__every="1",
            capture__gradients="raw",
            budget="100%",
            capture__on_full="block",
            capture__blob_ring_mb=str(count * 5),
            storage__retain_raw_steps="4",
        ),
        tensors,
    )
    cpu: dict[str, list[float]] = {"ours": [], "smdebug": []}

    def ours_action() -> None:
        before = _cpu_seconds()
        for _ in range(steps):
            recorder.step()
        recorder.flush()
        cpu["ours"].append((_cpu_seconds() - before) / nbytes * 1e9)

    smdebug = SmdebugWriter(settings.folder)

    def smdebug_action() -> None:
        before = _cpu_seconds()
        smdebug.write(arrays)
        cpu["smdebug"].append((_cpu_seconds() - before) / (nbytes / steps) * 1e9)

    block = mmap.mmap(-1, BLOCK)
    path = settings.folder / "direct.bin"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)

    def direct() -> None:
        for i in range(nbytes // BLOCK):
            os.pwrite(fd, block, i * BLOCK)

    ours = Contestant(f"Wheeltapper, {steps} steps", ours_action)
    raw = Contestant("bare O_DIRECT writes of as many bytes", direct)
    slow = Contestant("smdebug, one step", smdebug_action)
    interleave([ours, raw, slow], rounds=max(3, settings.rounds // 2))
    os.close(fd)
    path.unlink()
    recorder.discard()
    cpu_ours = float(np.median(cpu["ours"]))
    return GoalResult(
        4,
        f"Sustained to disk: {nbytes / 1e9:.1f} GB of raw tensors with checksums",
        "The disk's own rate, about 0.12 CPU-s per GB: 0.05 to copy, 0.05 for the checksum, 0.02 to write.",
        [
            at_least("share of bare O_DIRECT", 0.9, ratio(raw, ours), ""),
            at_most("CPU-s per GB", 0.20, cpu_ours, " s"),
            at_least("throughput of smdebug", 9, ratio(slow, ours) * steps),
            at_least("less CPU per GB than smdebug", 12, float(np.median(cpu["smdebug"])) / cpu_ours),
        ],
        rows_of([ours, raw, slow]),
    )
