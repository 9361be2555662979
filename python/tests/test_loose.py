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


def test_the_gradients_of_an_optimizer_that_is_never_stepped_are_recorded_and_it_is_named(job):
    def loop():
        body, head = Net(), torch.nn.Linear(3, 2)
        stepped = torch.optim.SGD(body.parameters(), lr=0.1)
        forgotten = torch.optim.Adam(head.parameters(), lr=0.1)
        for _ in range(4):
            stepped.zero_grad()
            forgotten.zero_grad()
            head(body(batch()[0])).square().mean().backward()
            stepped.step()

    trial = job(loop)
    assert {"Linear.weight", "gradient/Linear.weight", "gradient/Linear.bias"} <= names_of(trial)
    assert l2(trial, "Linear.weight", 1) == l2(trial, "Linear.weight", 3)
    assert idle_optimizers(trial) == [("Adam", ["Linear.weight", "Linear.bias"])]


def test_the_models_of_an_idle_optimizer_are_looked_for_once(job):
    from wheeltapper.torch.capture import CAPTURE

    def loop():
        looked = []
        find = CAPTURE.loose._find_models
        CAPTURE.loose._find_models = lambda optimizer: (looked.append(optimizer), find(optimizer))
        body, head = Net(), torch.nn.Linear(3, 2)
        stepped = torch.optim.SGD(body.parameters(), lr=0.1)
        idle = torch.optim.Adam(head.parameters(), lr=0.1)
        for _ in range(8):
            stepped.zero_grad()
            head(body(batch()[0])).square().mean().backward()
            stepped.step()
        assert looked == [idle]

    assert idle_optimizers(job(loop)) == [("Adam", ["Linear.weight", "Linear.bias"])]


def test_an_optimizer_that_gave_way_to_another_one_is_not_called_idle(job):
    def loop():
        model = Net()
        replaced = torch.optim.Adam(model.parameters(), lr=0.1)
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), 4)
        assert replaced.param_groups

    assert idle_optimizers(job(loop)) == []


def test_a_parameter_that_has_no_gradient_is_not_recorded_for_an_idle_optimizer(job):
    def loop():
        model, unused = Net(), torch.nn.Linear(3, 2)
        idle = torch.optim.SGD(unused.parameters(), lr=0.1)
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), 4)
        assert idle.param_groups

    trial = job(loop)
    assert not [name for name in names_of(trial) if "Linear" in name and trial.tensor(name).steps()]


def test_steps_without_any_gradient_are_counted_until_one_has_come(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            model(batch()[0]).sum()
            optimizer.step()
        train(model, optimizer, 3)

    assert without_gradient(job(loop)) == {0: 1, 1: 2, 2: 3, 3: 0}


def test_steps_without_any_gradient_are_counted_where_none_is_captured_and_with_a_closure(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.step(lambda: model(batch()[0]).sum())

    assert without_gradient(job(loop, WHEELTAPPER_CAPTURE_GRADIENTS="off")) == {0: 1, 1: 2, 2: 3}


def test_sound_and_frozen_optimizers_count_no_step_without_a_gradient(job):
    def loop():
        model, frozen = Net(), Net()
        frozen.requires_grad_(False)
        optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, frozen)]
        for _ in range(3):
            optimizers[0].zero_grad()
            frozen(model.first(batch()[0])[:, :8]).sum().backward()
            for optimizer in optimizers:
                optimizer.step()

    assert without_gradient(job(loop)) == {}


def idle_optimizers(trial):
    return [(meta["type"], meta["parameters"]) for meta in trial.metas() if meta["kind"] == "idle_optimizer"]


def without_gradient(trial):
    name = "wheeltapper/steps_without_gradient"
    if name not in trial.tensor_names(kind=""):
        return {}
    series = trial.scalars(name)
    return dict(zip(series.step.tolist(), series.value.tolist(), strict=True))
