"""Goals 1 to 3: how long the training thread is blocked for small tensors, scalars and large tensors."""

from __future__ import annotations

import numpy as np
import torch
from harness import Contestant, GoalResult, at_least, at_most, interleave, ratio, rows_of

from goals import Settings
from goals.ours import Recorder, make_run
from goals.peers import Hdf5Writer, NpzWriter, PickleWriter, SafetensorsWriter, SmdebugWriter, TensorBoardWriter

RAW = {"capture__every": "1", "capture__gradients": "raw", "budget": "100%", "capture__on_full": "block"}


def _names(count: int) -> list[str]:
    return [f"layer{i // 4}.block/weight_{i}" for i in range(count)]


def small_tensors(settings: Settings) -> GoalResult:
    """1000 tensors of 256 f32 each, raw, every step."""
    tensors = {name: torch.randn(256) for name in _names(1000)}
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    recorder = Recorder(make_run(settings.folder, **RAW), tensors)
    smdebug = SmdebugWriter(settings.folder)
    peers = [PickleWriter(settings.folder), SafetensorsWriter(settings.folder)]
    ours = Contestant("Wheeltapper, from Python", recorder.step, recorder.flush)
    slow = Contestant(smdebug.name, lambda: smdebug.write(arrays), every=3)
    others = [Contestant(peer.name, lambda peer=peer: peer.write(arrays)) for peer in peers]
    contestants = [ours, slow, *others]
    interleave(contestants, rounds=settings.rounds * 3)
    recorder.discard()
    return GoalResult(
        1,
        "Small tensors: blocked per step, 1000 × 256 f32, raw",
        "About 0.2 ms: 0.1 ms to gather 1000 pointers, 0.08 ms to copy 1 MB with statistics; some 300× below smdebug.",
        [
            at_least("less than smdebug FileWriter", 200, ratio(slow, ours)),
            at_least("less than pickle", 8, ratio(others[0], ours)),
            at_least("less than safetensors", 8, ratio(others[1], ours)),
        ],
        rows_of(contestants),
        ["The MCAP C++ writer of the goal table is not packaged here, so that ratio is not measured."],
    )


def scalars(settings: Settings) -> GoalResult:
    """1000 named Python floats per log()."""
    import os

    import wheeltapper

    values = {name: float(i) for i, name in enumerate(_names(1000))}
    run = make_run(settings.folder)
    os.environ["WHEELTAPPER_RUN_DIR"] = str(run)
    tensorboard = TensorBoardWriter(settings.folder)
    smdebug = SmdebugWriter(settings.folder)
    arrays = {name: np.float32(value) for name, value in values.items()}
    ours = Contestant("wheeltapper.log", lambda: wheeltapper.log(values), wheeltapper.flush)
    board = Contestant(tensorboard.name, lambda: tensorboard.write(values))
    slow = Contestant(smdebug.name, lambda: smdebug.write(arrays), every=3)
    interleave([ours, board, slow], rounds=settings.rounds * 3, warmup=3)
    return GoalResult(
        2,
        "Scalars: 1000 named Python floats per call",
        "0.15 to 0.2 µs a value, nearly all of it in walking the dictionary.",
        [
            at_least("faster than SummaryWriter.add_scalar", 30, ratio(board, ours)),
            at_least("faster than smdebug", 150, ratio(slow, ours)),
            at_most("per scalar, µs", 0.2, ours.median * 1e3, " µs"),
        ],
        rows_of([ours, board, slow]),
        ["W&B's client needs a service process of its own; it is not measured."],
    )


def large_tensors(settings: Settings) -> GoalResult:
    """100 tensors of 1 Mi f32 (419 MB), raw, with a ring that holds a step."""
    count = 25 if settings.quick else 100
    tensors = {name: torch.randn(1 << 20) for name in _names(count)}
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    ring = str(count * 5)
    recorder = Recorder(make_run(settings.folder, capture__blob_ring_mb=ring, **RAW), tensors)
    copies = {name: torch.empty_like(tensor).zero_() for name, tensor in tensors.items()}

    def bare_copy() -> None:
        for name, tensor in tensors.items():
            copies[name].copy_(tensor)

    ours = Contestant("Wheeltapper, raw and statistics", recorder.step, recorder.flush)
    bare = Contestant("torch copy_ of the same tensors", bare_copy)
    smdebug = SmdebugWriter(settings.folder)
    slow = Contestant(smdebug.name, lambda: smdebug.write(arrays), every=4)
    others = [
        Contestant(peer.name, lambda peer=peer: peer.write(arrays), every=2)
        for peer in (
            SafetensorsWriter(settings.folder),
            PickleWriter(settings.folder),
            NpzWriter(settings.folder),
            Hdf5Writer(settings.folder),
        )
    ]
    interleave([ours, bare, slow, *others], rounds=max(5, settings.rounds))
    recorder.discard()
    return GoalResult(
        3,
        f"Large tensors: blocked per step, {count} × 1 Mi f32, raw",
        "One streaming copy at memory speed, statistics for free: about what the bare copy takes, or less.",
        [
            at_least("less than smdebug", 40, ratio(slow, ours)),
            at_least("less than safetensors", 3.5, ratio(others[0], ours)),
            at_least("less than pickle", 3.5, ratio(others[1], ours)),
            at_least("less than npz", 9, ratio(others[2], ours)),
            at_least("less than HDF5", 4, ratio(others[3], ours)),
            at_most("of a bare copy", 1.3, 1 / ratio(bare, ours)),
        ],
        rows_of([ours, bare, slow, *others]),
    )
