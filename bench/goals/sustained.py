"""Goal 4: raw tensors to disk without a pause, against O_DIRECT and smdebug."""

from __future__ import annotations

import mmap
import os
import resource
from pathlib import Path

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


class DirectWriter:
    """What the disk can do: one block after the other by O_DIRECT, nothing else.

    A recorder can only write to blocks that the file system has yet to allocate, so the contestant
    it is held against does that too: a new file each time. Writing over a file that is there
    already is faster (on a thinly provisioned disk by half) and shown beside it.
    """

    def __init__(self, path: Path, nbytes: int, *, new_file: bool) -> None:
        self._path, self._nbytes, self._new_file = path, nbytes, new_file
        self._number = 0
        # 128 MiB and not zeros: neither the CPU cache nor the zero page helps.
        self._source = mmap.mmap(-1, min(nbytes, 16 * BLOCK))
        self._source[:] = np.random.default_rng(0).bytes(len(self._source))

    def prepare(self) -> None:
        # Under a new name: where unlinking discards blocks, the disk would be busy with that for a while.
        self._number += self._new_file
        os.sync()

    def write(self) -> None:
        fd = os.open(self._path.with_suffix(f".{self._number}"), os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        try:
            source = memoryview(self._source)
            for at in range(0, self._nbytes, BLOCK):
                begin = at % len(source)
                block = source[begin : begin + min(BLOCK, self._nbytes - at)]
                if os.pwrite(fd, block, at) != len(block):
                    raise OSError("a bare write came up short")
        finally:
            os.close(fd)


def sustained(settings: Settings) -> GoalResult:
    """4 steps of 100 × 1 Mi f32 through a ring smaller than two steps, until all of it is in files."""
    count, steps = (50, 4) if settings.quick else (100, 4)
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

    new = DirectWriter(settings.folder / "new.bin", nbytes, new_file=True)
    over = DirectWriter(settings.folder / "over.bin", nbytes, new_file=False)
    # What smdebug leaves in the page cache is written back before the next one starts.
    ours = Contestant(f"Wheeltapper, {steps} steps", ours_action, prepare=os.sync)
    raw = Contestant("bare O_DIRECT writes of as many bytes, new file", new.write, prepare=new.prepare)
    again = Contestant("bare O_DIRECT writes of as many bytes, over a file", over.write, prepare=over.prepare)
    slow = Contestant("smdebug, one step", smdebug_action, prepare=os.sync)
    contestants = [ours, raw, again, slow]
    interleave(contestants, rounds=5)
    recorder.discard()
    cpu_ours = float(np.median(cpu["ours"]))
    return GoalResult(
        4,
        f"Sustained to disk: {nbytes / 1e9:.1f} GB of raw tensors with checksums",
        "The disk's own rate, about 0.12 CPU-s per GB: 0.05 to copy, 0.05 for the checksum, 0.02 to write.",
        [
            at_least("share of bare O_DIRECT into a new file", 0.9, ratio(raw, ours), ""),
            at_most("CPU-s per GB", 0.20, cpu_ours, " s"),
            at_least("throughput of smdebug", 9, ratio(slow, ours) * steps),
            at_least("less CPU per GB than smdebug", 12, float(np.median(cpu["smdebug"])) / cpu_ours),
        ],
        rows_of(contestants),
        [
            f"Of the rate at which an existing file is written over: {ratio(again, ours):.2f}. No recorder can "
            "reach that one: its blocks are not allocated yet."
        ],
    )
