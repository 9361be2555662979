"""Goals 5 to 7: the reductions themselves, single-threaded, against NumPy, torch and TensorBoard."""

from __future__ import annotations

import numpy as np
import torch
from harness import Check, Contestant, GoalResult, at_least, at_most, interleave, ratio, rows_of
from wheeltapper import _native

from goals import Settings
from goals.ours import Recorder, make_run
from goals.peers import TensorBoardWriter, numpy_reductions, torch_reductions

REPEATS = {256: 2000, 1 << 20: 3, 1 << 24: 1}


def _repeated(action: object, n: int) -> object:
    def run() -> None:
        for _ in range(REPEATS[n]):
            action()  # type: ignore[operator]

    return run


def _compare_at(n: int, rounds: int) -> list[Contestant]:
    tensor = torch.randn(n) * 0.02
    array = tensor.numpy()
    contestants = [
        Contestant(f"Wheeltapper, n = {n}", _repeated(lambda: _native.reduce(tensor, product=True), n)),
        Contestant(f"NumPy, n = {n}", _repeated(lambda: numpy_reductions(array), n)),
        Contestant(f"torch, n = {n}", _repeated(lambda: torch_reductions(tensor), n)),
    ]
    interleave(contestants, rounds=rounds, warmup=2)
    for contestant in contestants:
        contestant.seconds = [seconds / REPEATS[n] for seconds in contestant.seconds]
        contestant.by_round = {i: seconds / REPEATS[n] for i, seconds in contestant.by_round.items()}
    return contestants


def reductions(settings: Settings) -> GoalResult:
    """All 18 reductions of smdebug plus the counts."""
    small = _compare_at(256, settings.rounds)
    large = _compare_at(1 << 20, settings.rounds)
    tensor = torch.randn(1 << 24)
    base = Contestant("Wheeltapper base set, n = 16 Mi", lambda: _native.reduce(tensor))
    read = Contestant("torch.sum of the same (one DRAM read)", tensor.sum)
    interleave([base, read], rounds=settings.rounds, warmup=2)
    return GoalResult(
        5,
        "All 18 reductions in one pass",
        "1 µs at 256 elements (most of it the call from Python), 0.26 ms at 1 Mi, one DRAM read at 16 Mi.",
        [
            at_least("faster than NumPy at 256", 60, ratio(small[1], small[0])),
            at_least("faster than torch at 256", 60, ratio(small[2], small[0])),
            at_least("faster than NumPy at 1 Mi", 24, ratio(large[1], large[0])),
            at_least("faster than torch at 1 Mi", 28, ratio(large[2], large[0])),
            at_least("share of DRAM read rate, 16 Mi", 0.8, ratio(read, base), ""),
        ],
        rows_of([*small, *large, base, read]),
        [f"Kernels ran on {_native.kernel_target()}; NumPy and torch with one thread."],
    )


def fused_copy(settings: Settings) -> GoalResult:
    """Copy and statistics against the copy alone, both into the ring."""
    count = 64
    tensors = {f"t{i}": torch.randn(1 << 20) for i in range(count)}
    common = {
        "capture__every": "1",
        "budget": "100%",
        "capture__on_full": "block",
        "capture__gradients": "raw",
        "capture__blob_ring_mb": str(count * 5),
    }
    recorder = Recorder(make_run(settings.folder, **common), tensors)
    copies = {name: torch.empty_like(tensor).zero_() for name, tensor in tensors.items()}

    def bare() -> None:
        for name, tensor in tensors.items():
            copies[name].copy_(tensor)

    fused = Contestant("copy and statistics into the ring", recorder.step, recorder.flush)
    copy = Contestant("torch copy_ alone", bare)
    interleave([fused, copy], rounds=settings.rounds * 2, warmup=2)
    recorder.discard()
    share = 1 / ratio(copy, fused)
    return GoalResult(
        6,
        f"Statistics are free with capture: {count} × 1 Mi f32",
        "1.00: the reduction hides behind the copy's memory traffic.",
        [at_most("of the copy alone", 1.05, share)],
        rows_of([fused, copy]),
        ["The peer is torch's ordinary copy; src/tensor/bench compares with our own streaming copy."],
    )


def histogram_and_median(settings: Settings) -> GoalResult:
    """1 Mi f32: histogram with quantiles, exact median."""
    tensor = torch.randn(1 << 20)
    array = tensor.numpy()
    tensorboard = TensorBoardWriter(settings.folder)
    ours = Contestant("Wheeltapper histogram and 7 quantiles", lambda: _native.histogram(tensor))
    peers = [
        Contestant("np.histogram(64)", lambda: np.histogram(array, 64)),
        Contestant("torch.histc(64)", lambda: torch.histc(tensor, 64)),
        Contestant("TensorBoard add_histogram", lambda: tensorboard.histogram(array), every=3),
    ]
    median = Contestant("Wheeltapper exact median", lambda: _native.reduce(tensor, median=True))
    plain = Contestant("(the same call without the median)", lambda: _native.reduce(tensor))
    others = [Contestant("np.median", lambda: np.median(array)), Contestant("torch.median", tensor.median)]
    interleave([ours, *peers, median, plain, *others], rounds=settings.rounds, warmup=2)
    cost = max(median.median - plain.median, 1e-9)
    checks: list[Check] = [
        at_least("faster than np.histogram", 15, ratio(peers[0], ours)),
        at_least("faster than torch.histc", 17, ratio(peers[1], ours)),
        at_least("faster than add_histogram", 150, ratio(peers[2], ours)),
        at_least("median faster than NumPy", 10, others[0].median / cost),
        at_least("median faster than torch", 10, others[1].median / cost),
    ]
    return GoalResult(
        7,
        "Histogram, quantiles and exact median of 1 Mi f32",
        "0.35 ms for the histogram, 0.9 ms for the median.",
        checks,
        rows_of([ours, *peers, median, plain, *others]),
        ["The median's time is the difference of the two calls that contain it and do not."],
    )
