"""The public functions: what they record, what they refuse, what they leave alone."""

import collections
import copy
import doctest
import importlib
import json
import pickle
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import wheeltapper
from models import Net, batch, train
from wheeltapper import errors


def test_importing_imports_no_framework():
    code = "import sys, wheeltapper; print(sorted({'torch', 'numpy', 'wheeltapper._native'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_losses_are_told_by_their_names_as_the_rules_do():
    from wheeltapper._scalars import role_of_scalar

    path = Path(__file__).parents[2] / "src" / "format" / "test" / "loss_names.json"
    for kind, role in (("losses", "loss"), ("others", "metric")):
        names = json.loads(path.read_text())[kind]
        assert {name: role_of_scalar(name) for name in names} == dict.fromkeys(names, role)


def test_log_belongs_to_the_coming_step_after_backward_else_to_the_last(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(3):
            optimizer.zero_grad()
            loss = model(batch()[0]).sum()
            loss.backward()
            wheeltapper.log({"before": step})
            optimizer.step()
            wheeltapper.log({"after": step, "group": {"inner": torch.tensor(2.5)}, "text": "left out"})
        wheeltapper.log({"explicit": 1}, step=17, mode="predict")

    trial = job(loop)
    assert trial.scalars("before").step.tolist() == [0, 1, 2]
    assert trial.scalars("after").step.tolist() == [0, 1, 2]
    assert trial.scalars("after").value.tolist() == [0.0, 1.0, 2.0]
    assert trial.scalars("group/inner").value.tolist() == [2.5] * 3
    explicit = trial.scalars("explicit")
    assert (explicit.step.tolist(), explicit.mode) == ([17], ["predict"])
    assert "text" not in trial.tensor_names(kind="")


class Name(str):
    """A name that says something else than its characters."""

    __slots__ = ()

    def __format__(self, spec):
        return f"named/{str.__str__(self)}"


class Reading(float):
    """A float of a class of its own, as numpy.float64 is."""


def test_log_takes_every_kind_of_number_the_first_time_and_again(job):
    logged = {
        "float": 0.5,
        "int": 3,
        "bool": True,
        "subclass": Reading(1.25),
        "f64": np.float64(2.5),
        "f32": np.float32(0.25),
        "one": np.array([4.0]),
        "tensor": torch.tensor(1.5),
        "nested": {"deeper": {"inner": 7}},
        5: 6.0,
        Name("x"): 8.0,
        "nan": float("nan"),
        "text": "left out",
        "many": np.zeros(3),
        "none": None,
    }
    plain = {"float": 0.5, "int": 3, "bool": True, "subclass": Reading(1.25), "f64": np.float64(2.5)}

    def loop():
        for step in range(3):
            wheeltapper.log(logged, step=step)
        wheeltapper.log(plain, step=3)  # read in one go: every name is known

    trial = job(loop)
    wanted = {"float": 0.5, "int": 3.0, "bool": 1.0, "subclass": 1.25, "f64": 2.5}
    for name, value in wanted.items():
        assert trial.scalars(name).value.tolist() == [value] * 4
    others = {"f32": 0.25, "one": 4.0, "tensor": 1.5, "nested/deeper/inner": 7.0, "5": 6.0, "named/x": 8.0}
    for name, value in others.items():
        assert trial.scalars(name).value.tolist() == [value] * 3
    assert np.isnan(trial.scalars("nan").value).all()
    named = {name for name in trial.tensor_names(kind="") if not name.startswith("wheeltapper/")}
    assert named == wanted.keys() | others.keys() | {"nan"}


def test_log_follows_a_mapping_that_changes_between_calls(job):
    def loop():
        values = {"a": 1.0, "b": 2.0}
        wheeltapper.log(values, step=0)
        values["a"] = 3.0
        del values["b"]
        values["c"] = 4.0
        wheeltapper.log(values, step=1)
        # The same names as other objects, in another order.
        wheeltapper.log({"".join(["c"]): 5.0, bytes([97]).decode(): 6.0}, step=2)
        wheeltapper.log(collections.OrderedDict(a=7.0), step=3)
        wheeltapper.log(types.MappingProxyType({"a": 8.0}), step=4)
        wheeltapper.log({}, step=5)

    trial = job(loop)
    found = {name: trial.scalars(name) for name in "abc"}
    assert found["a"].step.tolist() == [0, 1, 2, 3, 4]
    assert found["a"].value.tolist() == [1.0, 3.0, 6.0, 7.0, 8.0]
    assert (found["b"].step.tolist(), found["b"].value.tolist()) == ([0], [2.0])
    assert (found["c"].step.tolist(), found["c"].value.tolist()) == ([1, 2], [4.0, 5.0])


def test_a_name_that_only_looks_known_is_a_name_of_its_own(job):
    def loop():
        wheeltapper.log({"x": 1.0, "5": 2.0})
        wheeltapper.log({Name("x"): 3.0})
        wheeltapper.log({5: 4.0})  # written as the text, like any key

    trial = job(loop)
    assert trial.scalars("x").value.tolist() == [1.0]
    assert trial.scalars("named/x").value.tolist() == [3.0]
    assert trial.scalars("5").value.tolist() == [2.0, 4.0]


def test_log_records_all_of_a_call_or_nothing(job):
    def loop():
        wheeltapper.log({"a": 1.0, "b": 1})
        with pytest.raises(OverflowError):
            wheeltapper.log({"a": 2.0, "b": 10**400})
        with pytest.raises(TypeError):
            wheeltapper.log(3.0)
        wheeltapper.log({"a": 3.0, "b": 3})

    trial = job(loop)
    assert trial.scalars("a").value.tolist() == [1.0, 3.0]
    assert trial.scalars("b").value.tolist() == [1.0, 3.0]


def test_losses_and_metrics_keep_their_collections_when_logged(job):
    trial = job(lambda: [wheeltapper.log({"val_Loss": 0.5, "accuracy": 0.5}) for _ in range(2)])
    assert trial.tensor("val_Loss").collections == ["losses"]
    assert trial.tensor("accuracy").collections == ["metrics"]


def test_log_of_a_model_in_eval_mode_is_evaluation(job):
    def loop():
        model = Net()
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), 2)
        model.eval()
        wheeltapper.log({"val_loss": 0.25})
        model.train()
        with wheeltapper.mode("eval"):
            wheeltapper.log({"val_loss": 0.125})

    series = job(loop).scalars("val_loss")
    assert series.mode == ["eval", "eval"]
    assert series.step.tolist() == [1, 1]
    assert series.value.tolist() == [0.25, 0.125]


def test_a_loop_without_torch_says_its_own_steps(job):
    def loop():
        for step in range(3):
            wheeltapper.save_tensor("state", np.full((2, 3), step, np.float32), collection="mine")
            wheeltapper.log({"cost": 1.0 / (step + 1)})
            wheeltapper.step()

    trial = job(loop)
    assert trial.steps() == [0, 1, 2]
    state = trial.tensor("state")
    assert "mine" in state.collections
    assert state.reduction_values("sum").value.tolist() == [0.0, 6.0, 12.0]


def test_explicit_steps_win_over_optimizer_steps(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            train(model, optimizer, 2)
            wheeltapper.step()

    # The first iteration's two optimizer steps had been counted when the first step() came.
    assert job(loop).steps() == [0, 1, 2, 3]


def test_flush_makes_everything_readable_at_once(job, tmp_path):
    def loop():
        wheeltapper.log({"x": 1.0})
        wheeltapper.flush()
        live = wheeltapper.open(tmp_path / "run")
        assert live.scalars("x").value.tolist() == [1.0]

    job(loop)


def test_reduce_agrees_with_numpy():
    values = np.array([1.5, -2.0, 0.0, np.nan, np.inf, 4.0], np.float64)
    found = wheeltapper.reduce(values, median=True, product=True)
    finite = values[np.isfinite(values)]
    assert found["nan_count"] == 1
    assert found["posinf_count"] == 1
    assert found["mean"] == finite.mean()
    assert found["std"] == pytest.approx(finite.std())
    assert found["l2"] == pytest.approx(np.linalg.norm(finite))
    assert found["prod"] == 0.0
    assert wheeltapper.reduce(torch.ones(3, dtype=torch.bfloat16))["sum"] == 3.0
    with pytest.raises(errors.InvalidArgumentError, match="neither a CPU tensor nor a buffer"):
        wheeltapper.reduce(object())


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_are_pythons_errors_too_and_pickle(name):
    error = getattr(errors, name)('doing: why: "x"')
    assert isinstance(error, errors.WheeltapperError)
    assert str(error) == 'doing: why: "x"'
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


def test_wrong_arguments_say_what_and_how():
    wrong = pytest.raises(errors.InvalidArgumentError, match='not one of train, eval, predict, global: "tset"')
    with wrong, wheeltapper.mode("tset"):
        pass
    with pytest.raises(KeyError, match="no-such-run"):
        wheeltapper.open("/no-such-run")


def test_nothing_is_recorded_when_disabled(job, tmp_path):
    from conftest import in_child, new_run

    def loop():
        from wheeltapper import _session

        _session._PROCESS = _session._Process()
        train(Net(), torch.optim.SGD(Net().parameters(), lr=0.1), 1)
        wheeltapper.log({"x": 1})

    run = new_run(tmp_path / "off")
    assert in_child(loop, run, env={"WHEELTAPPER_DISABLE": "1"}) == 0
    assert wheeltapper.open(run).ranks() == []


def test_the_fuse_counts_errors_and_blows():
    from wheeltapper._fuse import MAX_ERRORS, Fuse

    fuse = Fuse()
    fuse.strict = False
    told = []
    fuse.on_blown.append(told.append)
    for i in range(MAX_ERRORS + 1):
        fuse.report(ValueError(i))
    assert fuse.blown
    assert len(told) == 1
    assert "ValueError" in told[0]


def test_a_tap_is_the_function_it_stands_for(monkeypatch):
    import inspect

    from wheeltapper import _native

    calls = []

    class Owner:
        def method(self, x, *, y=1):
            """Adds."""
            return x + y

    original = Owner.method
    Owner.method = _native.tap(
        original, lambda *a, **k: calls.append(("before", a[1:], k)), lambda r, *a, **k: calls.append(("after", r))
    )
    assert Owner().method(2, y=3) == 5
    assert calls == [("before", (2,), {"y": 3}), ("after", 5)]
    assert Owner.method.__doc__ == "Adds."
    assert inspect.signature(Owner.method) == inspect.signature(original)
    assert copy.deepcopy(Owner.method) is Owner.method
    monkeypatch.setattr(json, "dumps", _native.tap(json.dumps))
    assert pickle.loads(pickle.dumps(json.dumps)) is json.dumps


@pytest.mark.parametrize("name", ["", ".errors", "._fuse", ".torch.rounds"])
def test_examples_in_docstrings_run(name):
    found = doctest.testmod(importlib.import_module(f"wheeltapper{name}"))
    assert found.attempted > 0
    assert found.failed == 0


def test_a_tensor_that_has_no_shape_is_noted_and_ends_nothing(job):
    def loop():
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
        for _ in range(2):
            wheeltapper.save_tensor("nested", nested)
            wheeltapper.save_tensor("whole", torch.ones(4))
            wheeltapper.step()

    trial = job(loop)
    assert len(trial.tensor("whole").steps()) == 2
    assert [gap["reason"] for gap in trial.gaps()] == ["unsupported"]
