"""Which rank this process is, of which training of the command that `wheeltapper run` started."""

from __future__ import annotations

import os
import sys

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


def launcher_group() -> tuple[str, bool]:
    """What all ranks of one start of a launcher share, and whether it starts a training again.

    torchrun takes another port when it starts its workers again, and counts how often it did. Without a
    launcher that is known, the ranks have their parent in common.
    """
    environ = os.environ
    address = f"{environ.get('MASTER_ADDR', '')}:{environ.get('MASTER_PORT', '')}"
    if "TORCHELASTIC_RUN_ID" in environ:
        restarts = environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return f"torchrun {environ['TORCHELASTIC_RUN_ID']} {address}", restarts not in {"", "0"}
    if "SLURM_STEP_ID" in environ and "SLURM_PROCID" in environ:
        return f"slurm {environ.get('SLURM_JOB_ID', '')}.{environ['SLURM_STEP_ID']}", False
    if "PMIX_NAMESPACE" in environ:
        return f"pmix {environ['PMIX_NAMESPACE']}", False
    return (f"ranks of {address}" if address != ":" else f"children of {os.getppid()}"), False


class Training:
    """This process's part of a training of the command that `wheeltapper run` started."""

    def __init__(self, command_run: str, rank: int, world_size: int) -> None:
        from wheeltapper import _native

        group, restarted = launcher_group() if world_size > 1 else ("", False)
        self._command_run = command_run
        self._rank = rank
        self.run_dir, self._number, self._attempt = _native.join_training(
            command_run, rank=rank, world_size=world_size, group=group, restarted=restarted
        )

    def leave(self, *, failed: bool) -> None:
        """Notes how it ended."""
        from wheeltapper import _native

        state = "failed" if failed else "finished"
        _native.leave_training(
            self._command_run, number=self._number, attempt=self._attempt, rank=self._rank, state=state
        )
