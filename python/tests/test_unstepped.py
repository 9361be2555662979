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


def test_a_look_at_the_weights_reads_few_and_small_ones(monkeypatch):
    from wheeltapper.torch import unstepped

    read = []
    monkeypatch.setattr(unstepped, "_norm_of", lambda parameter: read.append(parameter.numel()) or 0.0)
    sizes = [unstepped.MOST_ELEMENTS + 1, *range(1, 40)]
    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in sizes]
    counter = unstepped.BackwardsWithoutStep()
    for _ in range(unstepped.FEWEST):
        counter.note(None, [torch.optim.SGD(parameters)])
    assert sorted(read) == list(range(1, unstepped.MOST_READ + 1))


def test_weights_of_every_kind_can_be_marked():
    from wheeltapper.torch import unstepped

    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.complex64):
        assert unstepped._norm_of(torch.nn.Parameter(torch.full((4,), 2.0, dtype=dtype))) == 4.0
    assert unstepped._norm_of(torch.nn.Parameter(torch.zeros(4, device="meta"))) == 0.0
