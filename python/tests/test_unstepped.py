"""Backward passes of a job whose optimizer never steps."""

import pytest
import torch
from models import Net, batch

COUNT = "wheeltapper/backwards_without_step"


def backwards(model, optimizer, passes, *, change=None):
    """A loop that forgets step()."""
    for seed in range(passes):
        optimizer.zero_grad()
        x, y = batch(seed=seed)
        torch.nn.functional.cross_entropy(model(x), y).backward()
        if change is not None:
            change(model)


def told(trial):
    return trial.scalars(COUNT).value.tolist() if COUNT in trial.tensor_names(kind="") else []


def test_they_are_told_at_powers_of_two_and_at_the_end(job):
    def loop():
        model = Net()
        backwards(model, torch.optim.SGD(model.parameters(), lr=0.1), 150)

    assert told(job(loop)) == [128, 150]


def by_hand(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.1 * parameter.grad)


def through_data(model):
    for parameter in model.parameters():
        parameter.data.sub_(0.1 * parameter.grad)


@pytest.mark.parametrize("change", [by_hand, through_data])
def test_a_job_that_changes_its_weights_by_itself_is_left_alone(job, change):
    def loop():
        model = Net()
        backwards(model, torch.optim.SGD(model.parameters(), lr=0.1), 200, change=change)

    assert told(job(loop)) == []


def few():
    model = Net()
    backwards(model, torch.optim.SGD(model.parameters(), lr=0.1), 7)


def saliency():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(batch()[0])  # known from here on
    model.eval()
    backwards(model, optimizer, 40)


def accumulated():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    backwards(model, optimizer, 40)
    optimizer.step()


@pytest.mark.parametrize("loop", [few, saliency, accumulated])
def test_nothing_is_told_of_a_try_out_nor_of_evaluation_nor_once_a_step_has_come(job, loop):
    assert told(job(loop)) == []
