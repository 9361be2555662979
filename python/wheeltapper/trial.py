"""Reading a run: names, steps, values, reductions, findings.

Example:
    trial = wheeltapper.open("wheeltapper-runs/train-1")
    trial.tensor("gradient/conv1.weight").reduction_values("l2")
    polars.DataFrame(trial.table("stats"))
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper import _native
from wheeltapper._session import MODES
from wheeltapper.errors import DeadlineExceededError, InvalidArgumentError, NotFoundError

_WAIT_SLICE_S = 0.1
STEP_STATES = ("unavailable", "available", "not_yet_available")


@dataclass(frozen=True)
class Series:
    """Points of one scalar or reduction, ascending by step, then rank: read-only NumPy columns."""

    step: np.ndarray[Any, np.dtype[np.int64]]
    value: np.ndarray[Any, np.dtype[np.float64]]
    mode: list[str]
    mode_step: np.ndarray[Any, np.dtype[np.int64]]
    rank: np.ndarray[Any, np.dtype[np.int32]]
    time_ns: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True)
class Overhead:
    """What observing cost, as the job measured it."""

    fraction: float
    blocked_ns: int
    elapsed_ns: int


def _mode_id(mode: str | None) -> int | None:
    if mode is None:
        return None
    if mode not in MODES:
        raise InvalidArgumentError(f'choosing a mode: not one of {", ".join(MODES)}: "{mode}"')
    return MODES.index(mode)


def _series(columns: dict[str, Any], value: str = "value") -> Series:
    return Series(
        step=np.asarray(columns["step"]),
        value=np.asarray(columns[value]),
        mode=[MODES[int(mode)] for mode in np.asarray(columns["mode"])],
        mode_step=np.asarray(columns["mode_step"]),
        rank=np.asarray(columns["rank"]),
        time_ns=np.asarray(columns["time_ns"]),
    )


def as_numpy(array: _native.NativeArray) -> np.ndarray[Any, Any]:
    """A read-only NumPy view of native memory, without a copy.

    NumPy has no bfloat16 and no 8-bit floats: with the package `ml_dtypes` installed they come as
    its types, otherwise as the unsigned integers that hold their bits.
    """
    view = np.asarray(array)
    name = array.dtype
    if name in {"bfloat16", "float8_e4m3fn", "float8_e5m2"}:
        try:
            import ml_dtypes
        except ImportError:
            return view
        return view.view(getattr(ml_dtypes, name))
    return view


class Trial:
    """A read view over one run, live or finished. Queries show the state of the last `refresh`.

    Args:
        path: The run directory.

    Raises:
        wheeltapper.errors.NotFoundError: There is no run at `path`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._native = _native.Trial.open(os.fspath(path))

    def __repr__(self) -> str:
        return f"<Trial {self.info['name']!r}: {self.state}>"

    @property
    def path(self) -> str:
        """The run directory."""
        return self._native.path

    @property
    def info(self) -> dict[str, Any]:
        """What run.json says."""
        return self._native.info

    @property
    def state(self) -> str:
        """`running`, `finished`, `failed`, `stopped`, `interrupted` or `abandoned`."""
        return self._native.state

    @property
    def end(self) -> dict[str, Any] | None:
        """How the run ended; None while it has not."""
        return self._native.end

    def refresh(self) -> None:
        """Reads what has been committed since."""
        self._native.refresh()

    def tensor_names(
        self,
        *,
        regex: str = "",
        collection: str = "",
        mode: str | None = None,
        step: int | None = None,
        kind: str = "tensor",
    ) -> list[str]:
        """Names for which all conditions hold, sorted.

        Args:
            regex: Searched anywhere in the name.
            collection: A collection it belongs to.
            mode: Seen in this mode.
            step: Seen at this global step.
            kind: "tensor", "scalar" or "" for both.
        """
        names = self._native.names(regex=regex, collection=collection, mode=_mode_id(mode), step=step)
        if not kind:
            return names
        return [name for name in names if (self._native.name_info(name) or {}).get("kind") == kind]

    def tensor(self, name: str) -> Tensor:
        """One tensor or scalar by its name.

        Raises:
            wheeltapper.errors.NotFoundError: The run has no such name.
        """
        info = self._native.name_info(name)
        if info is None:
            raise NotFoundError(f'looking up a tensor: the run has no such name: "{name}"')
        return Tensor(self._native, info)

    def collections(self) -> list[str]:
        """Names of the collections."""
        return self._native.collections()

    def steps(self, *, mode: str | None = None, rank: int | None = None, include_incomplete: bool = False) -> list[int]:
        """Steps, ascending: of the mode when one is given, else global ones.

        Args:
            mode: Count the steps of this mode.
            rank: Only steps of this rank.
            include_incomplete: Also steps that not every live rank has committed.
        """
        return self._native.steps(mode=_mode_id(mode), rank=rank, include_incomplete=include_incomplete)

    def modes(self) -> list[str]:
        """Modes that were seen."""
        return [MODES[mode] for mode in self._native.modes()]

    def ranks(self) -> list[int]:
        """Ranks that were seen."""
        return self._native.ranks()

    def state_of_step(self, step: int, *, mode: str | None = None) -> str:
        """`available`, `not_yet_available` or `unavailable` (skipped, or the run is over)."""
        return STEP_STATES[self._native.state_of_step(step, _mode_id(mode))]

    def wait_for_step(self, step: int, *, mode: str | None = None, timeout: float = 60.0) -> None:
        """Returns when a step can be read.

        Raises:
            wheeltapper.errors.DeadlineExceededError: It was not there in time.
            wheeltapper.errors.OutOfRangeError: The run ended before it.
            wheeltapper.errors.NotFoundError: It was skipped.
        """
        deadline = time.monotonic() + timeout
        while True:
            # In slices, so that Ctrl-C works.
            left = deadline - time.monotonic()
            try:
                self._native.wait_for_step(step, _mode_id(mode), max(0.0, min(left, _WAIT_SLICE_S)))
            except DeadlineExceededError:
                if left <= _WAIT_SLICE_S:
                    raise
            else:
                return

    def scalars(self, name: str, *, mode: str | None = None, rank: int | None = None) -> Series:
        """All points of a scalar."""
        return _series(self._native.scalars(name, mode=_mode_id(mode), rank=rank))

    def step_times(self, *, mode: str | None = None, rank: int | None = None) -> dict[str, Any]:
        """Columns step, step_ns, blocked_ns, data_wait_ns, rank, …, as NumPy arrays."""
        columns = self._native.step_times(mode=_mode_id(mode), rank=rank)
        return {name: np.asarray(column) for name, column in columns.items()}

    def metas(self) -> list[dict[str, Any]]:
        """JSON objects that describe the model, the optimizer, hyperparameters, an exception."""
        return [json.loads(text) for text in self._native.metas()]

    def gaps(self) -> list[dict[str, Any]]:
        """What was not recorded, and why."""
        return self._native.gaps()

    def findings(self) -> list[dict[str, Any]]:
        """The latest version of each finding, in order of opening."""
        path = Path(self.path, "findings.jsonl")
        latest: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    finding = json.loads(line)
                except ValueError:
                    continue  # a line cut off by a crash
                latest[str(finding.get("id"))] = finding
        return list(latest.values())

    @property
    def overhead(self) -> Overhead:
        """What observing cost the job."""
        return Overhead(*self._native.overhead)

    def table(
        self,
        name: str,
        *,
        regex: str = "",
        collection: str = "",
        mode: str | None = None,
        rank: int | None = None,
    ) -> _native.Table:
        """`scalars`, `stats`, `tensors` or `steps` as one table for pandas, Polars, DuckDB, pyarrow.

        The table speaks the Arrow C stream protocol: `polars.DataFrame(table)`,
        `pyarrow.table(table)`, `pandas.DataFrame.from_arrow(table)`.
        """
        return self._native.table(name, regex=regex, collection=collection, mode=_mode_id(mode), rank=rank)


class Tensor:
    """One named tensor or scalar of a run."""

    def __init__(self, native: _native.Trial, info: dict[str, Any]) -> None:
        self._native = native
        self._info = info

    def __repr__(self) -> str:
        return f"<Tensor {self.name!r} {self.dtype} {self.shape}>"

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._info["name"])

    @property
    def kind(self) -> str:
        """`tensor` or `scalar`."""
        return str(self._info["kind"])

    @property
    def dtype(self) -> str:
        """Element type, as last seen."""
        return str(self._info["dtype"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents, as last seen."""
        return tuple(self._info["shape"])

    @property
    def collections(self) -> list[str]:
        """Collections it belongs to."""
        return list(self._info["collections"])

    def steps(self, *, mode: str | None = None, rank: int | None = None) -> list[int]:
        """Steps at which it was recorded."""
        return self._native.steps(mode=_mode_id(mode), rank=rank, name=self.name, include_incomplete=True)

    def value(self, step: int, *, mode: str = "train", rank: int = 0) -> np.ndarray[Any, Any]:
        """Its raw value at a global step: a read-only array without a copy (see `as_numpy`).

        Of a scalar, such as a loss: its number, which is kept at every step, as an array without dimensions.

        Raises:
            wheeltapper.errors.NotFoundError: It, the step or the raw value is not there: it says which.
        """
        if self.kind == "scalar":
            numbers = self._numbers(mode, rank, first_step=step, last_step=step)
            if step not in numbers:
                raise NotFoundError(f'reading "{self.name}": nothing was logged at step {step} ({mode}), rank {rank}')
            return numbers[step]
        return as_numpy(self._native.value(self.name, step, _mode_id(mode) or 0, rank))

    def values(self, *, mode: str = "train", rank: int = 0) -> dict[int, np.ndarray[Any, Any]]:
        """Its raw values by step; steps without one are left out."""
        if self.kind == "scalar":
            return self._numbers(mode, rank)
        values: dict[int, np.ndarray[Any, Any]] = {}
        for steps, native in self._native.values(self.name, _mode_id(mode) or 0, rank):
            stack = as_numpy(native)
            # Iterating over one dimension would give NumPy scalars instead of arrays.
            slices = stack if stack.ndim > 1 else (stack[i, ...] for i in range(len(stack)))
            values.update(zip(steps, slices, strict=True))
        return values

    def _numbers(self, mode: str, rank: int, **steps: int) -> dict[int, np.ndarray[Any, Any]]:
        """A scalar's numbers by step, the last one of each, as arrays without dimensions."""
        series = _series(self._native.scalars(self.name, mode=_mode_id(mode), rank=rank, **steps))
        series.value.flags.writeable = False
        return {int(step): series.value[i, ...] for i, step in enumerate(series.step)}

    def scalars(self, *, mode: str | None = None, rank: int | None = None) -> Series:
        """All points of a scalar."""
        return _series(self._native.scalars(self.name, mode=_mode_id(mode), rank=rank))

    def reduction_values(
        self,
        reduction: str,
        *,
        abs: bool = False,  # noqa: A002 - the reduction's own name
        ddof: int = 0,
        mode: str | None = None,
        rank: int | None = None,
        merge_ranks: bool = False,
    ) -> Series:
        """A reduction over all steps.

        Args:
            reduction: min, max, mean, std, variance, sum, prod, l1, l2, rms, median, p01 … p99,
                numel, nan_count, posinf_count, neginf_count, zero_count or negative_count.
            abs: Of the absolute values.
            ddof: 0 for variances as NumPy's, 1 as torch's.
            mode: Only this mode.
            rank: Only this rank.
            merge_ranks: One value per step over the elements of all ranks.
        """
        columns = self._native.reduction(
            self.name,
            reduction,
            abs=abs,
            ddof=ddof,
            mode=_mode_id(mode),
            rank=rank,
            merge_ranks=merge_ranks,
        )
        return _series(columns)

    def reduction_value(
        self,
        step: int,
        reduction: str,
        *,
        abs: bool = False,  # noqa: A002 - the reduction's own name
        ddof: int = 0,
        mode: str | None = None,
        rank: int | None = None,
    ) -> float:
        """A reduction at one global step.

        Raises:
            wheeltapper.errors.NotFoundError: It was not recorded at that step.
        """
        columns = self._native.reduction(
            self.name,
            reduction,
            abs=abs,
            ddof=ddof,
            mode=_mode_id(mode),
            rank=rank,
            first_step=step,
            last_step=step,
        )
        values = np.asarray(columns["value"])
        if len(values) == 0:
            raise NotFoundError(f'reading a reduction: not recorded at step {step}: "{self.name}"')
        return float(values[0])

    def histograms(self, *, mode: str | None = None, rank: int | None = None) -> dict[str, Any]:
        """Histograms by step as lists of (low, high, count); empty where none was kept."""
        return self._native.histograms(self.name, mode=_mode_id(mode), rank=rank)
