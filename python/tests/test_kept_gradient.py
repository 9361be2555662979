"""Gradients that nothing clears between steps."""

import weakref

import pytest
import torch
from models import Net, batch


def kept(trial):
    return [
        (meta["parameter"], meta["step"]) for meta in trial.metas() if meta["kind"] == "kept_gradient" and meta["read"]
    ]


def loss_of(model):
    return model(batch()[0]).square().mean()


def clear_by_hand(model):
    for parameter in model.parameters():
        parameter.grad = None


def zero_data(model):
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.data.zero_()


def fill_data(model):
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.data.fill_(0)


@pytest.mark.parametrize(
    "clear",
    [
        lambda _model, optimizer: optimizer.zero_grad(),
        lambda _model, optimizer: optimizer.zero_grad(set_to_none=False),
        lambda model, _optimizer: clear_by_hand(model),
        lambda model, _optimizer: zero_data(model),
        lambda model, _optimizer: fill_data(model),
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


def test_a_gradient_that_is_cleared_is_not_kept_alive(job):
    def loop():
        model = torch.nn.Linear(4, 1, bias=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(3):
            model(torch.ones(2, 4)).mean().backward()
            optimizer.step()
            gradient = weakref.ref(model.weight.grad)
            optimizer.zero_grad()
            assert gradient() is None

    job(loop)


def test_a_gradient_on_a_device_is_not_read():
    from wheeltapper.torch.kept_gradient import KeptGradient

    watch = KeptGradient()
    parameter = torch.nn.Parameter(torch.ones(2, device="meta"))
    parameter.grad = torch.ones(2, device="meta")
    told = []
    for backwards in range(5):
        if watch.is_due:
            watch.before_backward()
        parameter.grad.add_(1)
        told.append(watch.before_step(backwards) is parameter)
        watch.after_step([parameter], backwards)
    assert told == [False, False, False, True, False]
    assert not watch.was_read
