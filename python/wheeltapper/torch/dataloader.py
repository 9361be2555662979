"""Time that training waits for its DataLoader."""

from __future__ import annotations

import time
from typing import Any

from wheeltapper import _session


class DataWait:
    """Adds up the time inside the iterator of a DataLoader, in the process that trains."""

    def __init__(self) -> None:
        self._started = 0
        self.batch_size: int | None = None

    def before_next(self, iterator: Any) -> None:
        """The iterator is asked for a batch."""
        session = _session.running()
        if session is not None:
            session.native.set_phase(_session.PHASE_DATA_WAIT)
        if self.batch_size is None:
            self.batch_size = getattr(getattr(iterator, "_index_sampler", None), "batch_size", 0) or 0
        self._started = time.perf_counter_ns()

    def after_next(self, _batch: Any, _iterator: Any) -> None:
        """The batch is there."""
        session = _session.running()
        if session is not None:
            session.data_wait_ns += time.perf_counter_ns() - self._started
            session.native.set_phase(_session.PHASE_RUNNING)
