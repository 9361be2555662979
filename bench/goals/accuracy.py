"""Goal 8: worst relative errors over thirteen distributions, against NumPy and torch in f32."""

from __future__ import annotations

import math

import numpy as np
import torch
from harness import GoalResult, at_least, at_most
from wheeltapper import _native

from goals import Settings


def _distributions(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    normal = rng.standard_normal(n)
    step = rng.standard_normal(n)
    step[n // 2 :] += 1e6
    pivot = rng.standard_normal(n)
    pivot[:64] = 1e3
    return {
        "N(0, .02)": normal * 0.02,
        "N(1e4, 1e-2)": 1e4 + rng.standard_normal(n) * 1e-2,
        "N(1, 1e-3)": 1 + rng.standard_normal(n) * 1e-3,
        "U(0, 1)": rng.random(n),
        "lognormal, σ = 3": rng.lognormal(0, 3, n),
        "sorted N(0, 1)": np.sort(rng.standard_normal(n)),
        "step 0 → 1e6": step,
        "constant 0.1": np.full(n, 0.1),
        "first 64 = 1e3": pivot,
        "±1": rng.choice([-1.0, 1.0], n),
        "N(0, 1)·1e-30": rng.standard_normal(n) * 1e-30,
        "N(0, 1)·1e25": rng.standard_normal(n) * 1e25,
        "U(0, 1), 32 Mi": rng.random(n * 32),
    }


def _reference(array: np.ndarray) -> tuple[float, float, float, float]:
    wide = array.astype(np.longdouble)
    mean = wide.mean()
    variance = ((wide - mean) ** 2).mean()
    return float(mean), float(variance), float(np.sqrt((wide * wide).sum())), float(np.abs(wide).mean())


def _error(got: tuple[float, float, float], want: tuple[float, float, float, float]) -> float:
    mean, variance, l2, scale = want
    parts = [(got[0] - mean) / scale if scale else 0.0, (got[2] - l2) / l2 if l2 else 0.0]
    parts.append((got[1] - variance) / variance if variance > (scale * 1e-7) ** 2 else 0.0)
    return max(abs(part) if math.isfinite(part) else math.inf for part in parts)


def accuracy(settings: Settings) -> GoalResult:
    """mean, variance and l2 of f32 data against long double."""
    worst = {"Wheeltapper": 0.0, "NumPy": 0.0, "torch": 0.0}
    finite_worst = dict(worst)
    rows = []
    for name, data in _distributions(1 << (16 if settings.quick else 20)).items():
        array = data.astype(np.float32)
        want = _reference(array)
        tensor = torch.from_numpy(array)
        ours = _native.reduce(array)
        with np.errstate(all="ignore"):
            got = {
                "Wheeltapper": (ours["mean"], ours["variance"], ours["l2"]),
                "NumPy": (float(array.mean()), float(array.var()), float(np.linalg.norm(array))),
                "torch": (tensor.mean().item(), tensor.var(unbiased=False).item(), tensor.norm(2).item()),
            }
        errors = {who: _error(values, want) for who, values in got.items()}
        for who, error in errors.items():
            worst[who] = max(worst[who], error)
            if math.isfinite(error) and "e-30" not in name and "e25" not in name:
                finite_worst[who] = max(finite_worst[who], error)
        rows.append((name, *(f"{errors[who]:.1e}" for who in worst)))
    return GoalResult(
        8,
        "Accuracy: worst relative error of mean, variance and l2",
        "6e-8, from f32 squares in runs of 16; NumPy and torch lose digits where there is an offset.",
        [
            at_most("ours, all thirteen", 1e-6, worst["Wheeltapper"], ""),
            at_least(
                "below NumPy's worst (without the two extreme ones)",
                100,
                finite_worst["NumPy"] / max(finite_worst["Wheeltapper"], 1e-18),
            ),
        ],
        rows,
        ["The table's columns are: distribution, Wheeltapper, NumPy, torch."],
    )
