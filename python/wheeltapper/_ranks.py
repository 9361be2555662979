"""Which rank this process is, of which training of the command that `wheeltapper run` started."""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

_RANK_VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
)


def find_rank() -> tuple[int, int]:
    """(rank, world size): from torch.distributed when it is up, else from the launcher's variables."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    for rank_name, size_name in _RANK_VARIABLES:
        rank = os.environ.get(rank_name, "")
        if rank.isdigit():
            size = os.environ.get(size_name, "")
            return int(rank), int(size) if size.isdigit() else int(rank) + 1
    return 0, 1


class Launcher(NamedTuple):
    """What the ranks of a training have in common."""

    group: str  # the same in all ranks of one start
    name: str  # the same at every start
    restarted: bool  # it starts a training again


def find_launcher() -> Launcher:
    """Torchrun, Slurm or PMIx; else the address of the rendezvous, or the parent.

    torchrun may take another port when it starts its workers again, and counts how often it did. Its id
    is "none" unless it is given one.
    """
    environ = os.environ
    address = f"{environ.get('MASTER_ADDR', '')}:{environ.get('MASTER_PORT', '')}"
    if "TORCHELASTIC_RUN_ID" in environ:
        name = f"torchrun {environ['TORCHELASTIC_RUN_ID']}"
        restarts = environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return Launcher(f"{name} {address} {restarts}", name, restarts not in {"", "0"})
    if "SLURM_STEP_ID" in environ and "SLURM_PROCID" in environ:
        name = f"slurm {environ.get('SLURM_JOB_ID', '')}.{environ['SLURM_STEP_ID']}"
        return Launcher(name, name, False)
    if "PMIX_NAMESPACE" in environ:
        return Launcher(f"pmix {environ['PMIX_NAMESPACE']}", "pmix", False)
    return Launcher(f"ranks of {address}" if address != ":" else f"children of {os.getppid()}", "", False)


def parent_process() -> tuple[int, str]:
    """(the number of the process that started this one with multiprocessing, this one's name); else (0, "")."""
    multiprocessing = sys.modules.get("multiprocessing")
    parent = None if multiprocessing is None else multiprocessing.parent_process()
    if multiprocessing is None or parent is None or parent.pid is None:
        return 0, ""
    return parent.pid, f"{multiprocessing.current_process().name} of {parent.pid}"


class Training:
    """This process's part of a training of the command that `wheeltapper run` started."""

    def __init__(self, command_run: str, rank: int, world_size: int) -> None:
        from wheeltapper import _native

        launcher = find_launcher() if world_size > 1 else Launcher("", "", False)
        parent_pid, child = parent_process()
        self.in_child = parent_pid > 0
        self.run_dir, number, attempt = _native.join_training(
            command_run,
            rank=rank,
            world_size=world_size,
            group=launcher.group,
            launcher=launcher.name,
            restarted=launcher.restarted,
            parent_pid=parent_pid,
            child=child,
        )
        self._place: dict[str, Any] = {"number": number, "attempt": attempt, "rank": rank}
        self._command_run = command_run

    def leave(self) -> None:
        """Has it noted how this process ends: it is about to."""
        from wheeltapper import _native

        if not self.in_child:
            _native.leave_training_at_exit(self._command_run, **self._place)
            return
        # A child of multiprocessing leaves through os._exit, after the exception that ends it was seen here.
        error = sys.exc_info()[1]
        code = 0 if error is None else 1
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if not isinstance(error, KeyboardInterrupt):
            _native.leave_training(self._command_run, exit_code=code, **self._place)
