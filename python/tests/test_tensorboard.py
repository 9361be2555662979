"""What a script sends to TensorBoard is recorded too, and TensorBoard gets what it always got."""

import pytest

pytest.importorskip("tensorboard")

WRITE = """
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
torch.manual_seed(0)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with SummaryWriter("logs") as writer:
    for step in range(3):
        optimizer.zero_grad()
        loss = model(torch.ones(2, 4)).square().mean()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss, step * 100)
        writer.add_scalars("both", {"a": step, "b": 2.0 * step}, step * 100)
"""

READ = """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator("logs")
events.Reload()
print([(e.step, e.value) for e in events.Scalars("train/loss")])
"""


def test_scalars_are_harvested_at_the_steps_of_the_run(script):
    # The loss wants a gradient: to make it a number the wrong way warns on the script's stderr.
    assert script.run(WRITE).stderr == b""
    trial = script.trial()
    assert trial.scalars("train/loss").step.tolist() == [0, 1, 2]
    assert trial.scalars("both/a").value.tolist() == [0.0, 1.0, 2.0]
    assert trial.scalars("both/b").value.tolist() == [0.0, 2.0, 4.0]
    assert trial.scalars("train/loss").value.tolist() == pytest.approx(trial.scalars("loss/backward").value.tolist())
    written = script.run(READ, attached=False).stdout.decode()
    assert [step for step, _ in eval(written)] == [0, 100, 200]


def test_a_writer_without_training_keeps_its_own_steps(script):
    script.run(
        """
        from torch.utils.tensorboard import SummaryWriter
        with SummaryWriter("logs") as writer:
            for step in (5, 10):
                writer.add_scalar("metric", step / 10, step)
        """
    )
    assert script.trial().scalars("metric").step.tolist() == [5, 10]
