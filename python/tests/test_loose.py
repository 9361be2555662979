"""Parameters that no optimizer has."""

import torch
import wheeltapper
from models import Net, batch, l2, train


def names_of(trial):
    return set(trial.tensor_names(kind=""))


def test_parameters_of_a_trained_model_that_no_optimizer_has_are_recorded(job):
    norms = []

    def loop():
        torch.manual_seed(0)
        model = Net()
        model.last.bias.requires_grad_(False)
        train(model, torch.optim.SGD(model.first.parameters(), lr=0.1), 6)
        norms.append(float(model.last.weight.norm()))

    trial = job(loop)
    assert {"last.weight", "gradient/last.weight"} <= names_of(trial)
    assert not {"last.bias", "gradient/last.bias"} & names_of(trial)
    assert l2(trial, "last.weight", 1) == l2(trial, "last.weight", 5) > 0
    # Nobody clears them, so they grow.
    assert l2(trial, "gradient/last.weight", 5) > 0


def test_they_are_recorded_after_attach_too(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.first.parameters(), lr=0.1)
        wheeltapper.attach(model, optimizer)
        train(model, optimizer, 4)

    assert {"last.weight", "last.bias", "gradient/last.bias"} <= names_of(job(loop))


def test_they_are_left_out_once_frozen(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.first.parameters(), lr=0.1)
        train(model, optimizer, 3)
        model.last.requires_grad_(False)
        train(model, optimizer, 3)

    trial = job(loop)
    assert trial.tensor("last.weight").steps() == [1, 2]
    assert trial.tensor("first.weight").steps() == [0, 1, 2, 3, 4, 5]


def test_a_network_that_nobody_trains_and_both_halves_of_a_gan_are_none(job):
    def loop():
        generator, critic, target = Net(), Net(), Net()
        ours = torch.optim.SGD(generator.parameters(), lr=0.1)
        theirs = torch.optim.SGD(critic.parameters(), lr=0.1)
        for _ in range(4):
            for model, optimizer in ((critic, theirs), (generator, ours)):
                optimizer.zero_grad()
                (model(batch()[0]).sum() + target(batch()[0]).sum()).backward()
                optimizer.step()

    trial = job(loop)
    weights = {name for name in names_of(trial) if name.endswith("first.weight") and "/" not in name}
    assert len(weights) == 2
    for name in weights:
        assert len(trial.tensor(name).steps()) == len(set(trial.tensor(name).steps())) == 4
