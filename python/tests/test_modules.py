"""What is recorded of modules: their losses, inputs and outputs, and that they work as ever."""

import copy
import dataclasses
import pickle
import weakref

import pytest
import torch
import wheeltapper
from models import Net, batch, train
from torch import nn


def test_losses_are_means_over_micro_batches(job):
    def loop():
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        for loss in (1.0, 3.0):
            (model.weight.sum() * 0 + loss).backward()
        optimizer.step()

    assert job(loop).scalars("loss/backward").value.tolist() == [2.0]


def test_loss_modules_are_recorded_for_training_and_evaluation(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        criterion = nn.CrossEntropyLoss()
        train(model, optimizer, 2, criterion=criterion)
        model.eval()
        with torch.no_grad():
            criterion(model(batch()[0]), batch()[1])
        model.train()
        train(model, optimizer, 1, criterion=criterion)

    trial = job(loop)
    series = trial.scalars("loss/CrossEntropyLoss")
    assert series.mode.count("train") == 3
    evaluation = trial.scalars("loss/CrossEntropyLoss", mode="eval")
    assert evaluation.step.tolist() == [1]


def test_a_hooked_loss_module_can_be_pickled_and_copied():
    from wheeltapper.torch.losses import LossBook, LossModules

    modules = LossModules(LossBook(), lambda *_: None)
    criterion = nn.MSELoss()
    modules.add(criterion)
    assert len(criterion._forward_hooks) == 0
    modules.on_compile()
    modules.add(criterion)
    assert len(criterion._forward_hooks) == 1
    data = pickle.dumps(criterion)
    assert b"wheeltapper" not in data
    assert pickle.loads(data)(torch.ones(2), torch.zeros(2)) == 1.0
    assert copy.deepcopy(criterion)(torch.ones(2), torch.zeros(2)) == 1.0


def test_loss_modules_of_every_origin_are_recorded_before_and_after_a_compilation(job):
    @dataclasses.dataclass(eq=True)  # which makes it unhashable
    class Focal(nn.modules.loss._Loss):
        def __post_init__(self):
            super().__init__()

        def forward(self, output, target):
            return nn.functional.cross_entropy(output, target)

    early = nn.CrossEntropyLoss()  # made before anything is attached

    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        wheeltapper.attach(model, optimizer)
        copied = copy.deepcopy(early)
        copied.__class__ = type("CopiedLoss", (nn.CrossEntropyLoss,), {})
        criteria = [early, copied, *(Focal() for _ in range(9))]
        for step in range(4):
            if step == 2:
                torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))
            optimizer.zero_grad()
            x, y = batch()
            sum(criterion(model(x), y) for criterion in criteria).backward()
            optimizer.step()

    trial = job(loop)
    for name in ("loss/CrossEntropyLoss", "loss/CopiedLoss", "loss/Focal"):
        assert trial.scalars(name).step.tolist() == [0, 1, 2, 3], name


def test_a_forward_without_elements_leaves_the_step_to_the_next_one(job):
    def loop():
        from torch._subclasses.fake_tensor import FakeTensorMode

        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        train(model, optimizer, 1)
        with FakeTensorMode(allow_non_fake_inputs=True):
            model(batch()[0])
        train(model, optimizer, 1)

    trial = job(loop)
    assert trial.tensor("output/first").steps() == [0, 1]
    assert len(trial.gaps()) == 0


def test_modules_are_not_watched_where_no_session_starts(job):
    def loop():
        from wheeltapper import _session
        from wheeltapper.torch.capture import CAPTURE

        _session._PROCESS.closed = True  # as where another process has the rank
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        assert CAPTURE.activations._calls.present
        train(model, optimizer, 1)
        assert not CAPTURE.activations._calls.present
        _session._PROCESS.closed = False
        wheeltapper.log("a", 1)

    job(loop)


def test_activations_and_learning_rate(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(
            [{"params": model.first.parameters()}, {"params": model.last.parameters(), "lr": 0.5}], lr=0.1
        )
        train(model, optimizer, 2)

    trial = job(loop)
    assert {"output/first", "output/relu", "output/last"} <= set(trial.tensor_names(collection="activations"))
    assert trial.tensor("output/relu").reduction_value(0, "min") == 0.0
    assert trial.scalars("learning_rate").value.tolist() == [0.1, 0.1]
    assert trial.scalars("learning_rate.group1").value.tolist() == [0.5, 0.5]


def test_modules_are_called_as_ever_while_a_step_is_not_armed(job):
    def loop():
        from torch._dynamo.utils import unpatched_nn_module_call_impl as plain

        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        train(model, optimizer, 1)
        assert nn.Module._call_impl is plain
        train(model, optimizer, 3)
        assert nn.Module._call_impl is not plain

    trial = job(loop, WHEELTAPPER_CAPTURE_EVERY="4")
    assert trial.tensor("output/first").steps() == [0]


def test_inputs_by_keyword_are_named_after_their_keywords(job):
    class Scaled(Net):
        def forward(self, x, *, scale, more=None):
            return super().forward(x) * scale

    def loop():
        model = Scaled()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        nn.functional.cross_entropy(model(x, scale=torch.full((1,), 2.0), more=3), y).backward()
        optimizer.step()

    trial = job(loop, WHEELTAPPER_CAPTURE_INPUTS="stats")
    assert trial.tensor_names(collection="inputs") == ["input/Scaled", "input/Scaled:scale"]
    assert trial.tensor("input/Scaled:scale").reduction_value(0, "max") == 2.0


def test_a_loss_module_inside_the_model_is_a_loss_and_an_output(job):
    class Whole(Net):
        def __init__(self):
            super().__init__()
            self.criterion = nn.CrossEntropyLoss()

        def forward(self, x, y):
            return self.criterion(super().forward(x), y)

    def loop():
        model = Whole()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(*batch()).backward()
        optimizer.step()

    trial = job(loop)
    assert "output/criterion" in trial.tensor_names()
    assert len(trial.scalars("loss/CrossEntropyLoss").value) == 1


def test_a_tap_that_somebody_has_wrapped_is_left_inside_and_tells_nothing():
    from wheeltapper.torch.calls import ModuleCalls

    class Part(nn.Linear):
        pass

    called = []
    calls = ModuleCalls(Part, lambda *call: called.append(call))
    calls.put()
    tapped = Part._call_impl

    def wrapper(self, x):
        return tapped(self, x)

    Part._call_impl = wrapper
    part, x = Part(2, 2), torch.ones(1, 2)
    part(x)
    assert [(module, args, kwargs) for module, args, kwargs, _ in called] == [(part, (x,), {})]
    calls.take_away()
    part(x)
    assert len(called) == 1
    assert Part._call_impl is wrapper
    calls.put()
    part(x)
    assert len(called) == 2


def test_a_class_without_a_call_of_its_own_has_none_after_the_tap():
    from wheeltapper.torch.calls import ModuleCalls

    class Part(nn.Linear):
        pass

    calls = ModuleCalls(Part, lambda *_: None)
    calls.put()
    assert "_call_impl" in vars(Part)
    calls.take_away()
    assert "_call_impl" not in vars(Part)


def steps_of(trial, name):
    return trial.tensor(name).steps() if name in trial.tensor_names() else []


def test_modules_before_the_first_that_learns_are_taken_at_the_first_step_too(job):
    class Log(nn.Module):
        def forward(self, x):
            return torch.log(x)

    def loop():
        model = nn.Sequential(Log(), nn.Tanh(), nn.Linear(4, 4), nn.ReLU())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            model(torch.ones(8, 4)).pow(2).mean().backward()
            optimizer.step()

    trial = job(loop)
    for name in ("output/0", "output/1", "output/2", "output/3", "output/Sequential"):
        assert steps_of(trial, name) == [0, 1], name


def test_the_first_step_has_outputs_of_modules_that_give_several_tensors(job):
    def loop():
        model = nn.LSTM(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            model(torch.ones(5, 2, 4))[0].pow(2).mean().backward()
            optimizer.step()

    assert steps_of(job(loop), "output/LSTM") == [0, 1]


def test_an_early_output_that_was_changed_in_place_is_left_out(job):
    class Shift(nn.Module):
        def forward(self, x):
            return x + 1

    def loop():
        model = nn.ModuleDict({"shift": Shift(), "fc": nn.Linear(4, 1)})
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            data = model["shift"](torch.ones(8, 4))
            data.mul_(2)
            model["fc"](data).mean().backward()
            optimizer.step()

    trial = job(loop)
    assert steps_of(trial, "output/fc") == [0, 1]
    assert steps_of(trial, "output/shift") == [1], "not with a value that it did not give"


def test_a_job_that_never_trains_keeps_only_small_outputs_of_one_forward():
    from wheeltapper.torch.early import EarlyCalls

    calls = EarlyCalls()
    modules = [nn.ReLU() for _ in range(3)]
    seen = []
    for _ in range(100):
        for module, numel in zip(modules, (1, 1 << 20, 1), strict=True):
            output = torch.ones(numel)
            seen.append(weakref.ref(output))
            calls.add(module, [("", output)], is_root=True)
            del output
    assert [reference() is not None for reference in seen[-4:]] == [False, True, False, True]
    assert sum(reference() is not None for reference in seen) == 2
    assert [module for module, _ in calls.take()] == [modules[0], modules[2]]
    assert list(calls.take()) == []


def test_an_activation_that_is_used_twice_begins_no_other_forward(job):
    class Shift(nn.Module):
        def forward(self, x):
            return x + 1

    def loop():
        shared = nn.Tanh()
        model = nn.Sequential(shared, Shift(), shared, nn.Linear(4, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            model(torch.ones(8, 4)).pow(2).mean().backward()
            optimizer.step()

    trial = job(loop)
    for name in ("output/0", "output/1", "output/3", "output/Sequential"):
        assert steps_of(trial, name) == [0, 1], name


@pytest.mark.parametrize(
    "start", [lambda: wheeltapper.log({"x": 1.0}), lambda: torch.ones(1, requires_grad=True).backward()]
)
def test_early_outputs_go_when_something_else_starts_the_session(job, start):
    def loop():
        model = nn.ModuleDict({"shift": nn.Identity(), "fc": nn.Linear(4, 1)})
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        early = nn.Softmax(dim=0)(torch.ones(4))
        reference = weakref.ref(early)
        del early
        assert reference() is not None
        start()
        model["fc"](torch.ones(1, 4)).mean().backward()
        optimizer.step()
        assert reference() is None

    job(loop)


def test_early_outputs_go_when_nothing_is_to_be_captured():
    from wheeltapper.torch.activations import Activations

    activations = Activations(lambda _: None, lambda: None, lambda _: False)
    reference = None

    def call():
        nonlocal reference
        output = torch.ones(4)
        reference = weakref.ref(output)
        activations._start_at(nn.ReLU(), output)

    call()
    assert reference() is not None
    activations.arm(False)
    assert reference() is None
