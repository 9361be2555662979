"""torchrun with two Gloo ranks: each is recorded, gradients are the averaged ones."""

import subprocess
import sys

import pytest

DDP = """
import os, torch
from torch import nn
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
torch.manual_seed(rank)
for step in range(4):
    optimizer.zero_grad()
    model(torch.randn(16, 8)).square().mean().backward()
    optimizer.step()
torch.distributed.destroy_process_group()
"""


def test_two_ranks_of_torchrun(script):
    from conftest import new_run

    path = script.folder / "train.py"
    path.write_text(DDP)
    new_run(script.run_dir)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(path)],
        env=script.env(),
        cwd=script.folder,
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    trial = script.trial()
    assert trial.ranks() == [0, 1]
    assert trial.steps() == [0, 1, 2, 3]
    gradient = trial.tensor("gradient/0.weight")
    first, second = (gradient.reduction_values("l2", rank=rank).value.tolist() for rank in (0, 1))
    assert first == pytest.approx(second, rel=1e-6)
    losses = [trial.scalars("loss/backward", rank=rank).value.tolist() for rank in (0, 1)]
    assert losses[0] != losses[1]
    merged = gradient.reduction_values("numel", merge_ranks=True)
    assert merged.value.tolist() == [256.0] * 4
