"""Gradients that nothing clears between steps."""

import pytest
import torch
from models import Net, batch


def kept(trial):
    return [(meta["parameter"], meta["step"]) for meta in trial.metas() if meta["kind"] == "kept_gradient"]


def loss_of(model):
    return model(batch()[0]).square().mean()


def clear_by_hand(model):
    for parameter in model.parameters():
        parameter.grad = None


@pytest.mark.parametrize(
    "clear",
    [
        lambda _model, optimizer: optimizer.zero_grad(),
        lambda _model, optimizer: optimizer.zero_grad(set_to_none=False),
        lambda model, _optimizer: clear_by_hand(model),
        None,
    ],
)
def test_gradients_that_nobody_clears_are_told(job, clear):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(6):
            if clear is not None:
                clear(model, optimizer)
            loss_of(model).backward()
            optimizer.step()

    assert kept(job(loop)) == ([] if clear else [("last.bias", 3)])


def test_gradients_that_are_accumulated_are_not_called_kept(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(6):
            for _ in range(2):
                loss_of(model).backward()
            optimizer.step()
            optimizer.zero_grad()

    assert kept(job(loop)) == []


def test_gradients_that_another_loss_adds_to_before_they_are_cleared_are_not_called_kept(job):
    def loop():
        generator, critic = Net(), torch.nn.Linear(3, 1)
        steps = [torch.optim.Adam(generator.parameters()), torch.optim.Adam(critic.parameters())]
        for _ in range(6):
            for optimizer in steps:
                optimizer.zero_grad(set_to_none=False)
                critic(generator(batch()[0])).mean().backward()
                optimizer.step()

    assert kept(job(loop)) == []
