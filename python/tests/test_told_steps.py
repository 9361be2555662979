"""Loops that end their steps by `wheeltapper.step()`: every call is a step, none is lost or counted twice."""

import numpy as np
import torch
import wheeltapper
from models import Net, train

AS_BY_DEFAULT = {"WHEELTAPPER_CAPTURE_EVERY": "auto", "WHEELTAPPER_BUDGET": "1%"}
EVERY_50TH = {"WHEELTAPPER_CAPTURE_EVERY": "50"}


def own_loop(count):
    for i in range(count):
        wheeltapper.save_tensor("population", np.full(8, i, np.float32))
        wheeltapper.log({"cost": float(i)})
        wheeltapper.step()


def trained(optimizer_steps):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer, optimizer_steps)
    return model, optimizer


def means(trial, name):
    """The step and the mean of each array of this name."""
    series = trial.tensor(name).reduction_values("mean")
    return list(zip(series.step.tolist(), series.value.tolist(), strict=True))


def numbers(trial, name):
    series = trial.scalars(name)
    return list(zip(series.step.tolist(), series.value.tolist(), strict=True))


def test_every_call_is_a_step_whatever_is_captured_of_it(job):
    trial = job(lambda: own_loop(200), **AS_BY_DEFAULT)
    assert trial.steps() == list(range(200))
    assert numbers(trial, "cost") == [(i, float(i)) for i in range(200)]


def test_a_loop_that_records_nothing_has_steps_all_the_same(job):
    trial = job(lambda: [wheeltapper.step() for _ in range(5)], **EVERY_50TH)
    assert trial.steps() == [0, 1, 2, 3, 4]


def test_steps_of_evaluation_are_steps_of_their_mode(job):
    def loop():
        for _ in range(3):
            wheeltapper.step(mode="eval")
        for _ in range(2):
            wheeltapper.step()

    trial = job(loop, **EVERY_50TH)
    assert trial.steps(mode="eval") == [0, 1, 2]
    assert trial.steps(mode="train") == [0, 1]


def test_a_loop_after_training_begins_with_a_step_of_its_own(job):
    def loop():
        trained(5)
        own_loop(3)

    trial = job(loop)
    assert trial.steps() == list(range(8))
    assert means(trial, "population") == [(5, 0.0), (6, 1.0), (7, 2.0)]
    # The first one was logged before anything told that training was over.
    assert numbers(trial, "cost") == [(4, 0.0), (6, 1.0), (7, 2.0)]


def test_a_loop_after_training_that_records_nothing_loses_no_step(job):
    def loop():
        trained(5)
        for _ in range(3):
            wheeltapper.step()

    assert job(loop).steps() == list(range(8))


def test_a_step_told_once_after_training_is_its_last_one(job):
    def loop():
        trained(5)
        wheeltapper.save_tensor("outcome", np.ones(2))
        wheeltapper.step()

    trial = job(loop)
    assert trial.steps() == list(range(5))
    assert means(trial, "outcome") == [(4, 1.0)]


def test_step_behind_each_optimizer_step_counts_no_step_twice(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for i in range(4):
            train(model, optimizer, 1)
            wheeltapper.save_tensor("extra", np.full(2, i, np.float32))
            wheeltapper.log({"extra_cost": float(i)})
            wheeltapper.step()
            wheeltapper.log({"later": float(i)})

    trial = job(loop)
    assert trial.steps() == [0, 1, 2, 3]
    expected = [(i, float(i)) for i in range(4)]
    assert means(trial, "extra") == expected
    assert numbers(trial, "extra_cost") == expected
    assert numbers(trial, "later") == expected


def test_training_that_begins_to_tell_its_steps_counts_none_twice(job):
    def loop():
        model, optimizer = trained(5)
        for i in range(3):
            train(model, optimizer, 1)
            wheeltapper.save_tensor("extra", np.full(2, i, np.float32))
            wheeltapper.step()

    trial = job(loop)
    assert trial.steps() == list(range(8))
    assert means(trial, "extra") == [(5, 0.0), (6, 1.0), (7, 2.0)]


def test_what_is_logged_behind_the_first_told_step_counts_it_no_second_time(job):
    def loop():
        model, optimizer = trained(5)
        for i in range(3):
            train(model, optimizer, 1)
            wheeltapper.step()
            wheeltapper.log({"later": float(i)})

    trial = job(loop)
    assert trial.steps() == list(range(8))
    assert numbers(trial, "later") == [(5, 0.0), (6, 1.0), (7, 2.0)]


def test_what_is_saved_behind_the_first_told_step_belongs_to_the_coming_one(job):
    def loop():
        model, optimizer = trained(5)
        for i in range(3):
            train(model, optimizer, 1)
            wheeltapper.save_tensor("extra", np.full(2, i, np.float32))
            wheeltapper.step()
            wheeltapper.save_tensor("later", np.full(2, i, np.float32))
            wheeltapper.save_tensor("last", np.full(2, i, np.float32))
        train(model, optimizer, 1)
        wheeltapper.step()

    trial = job(loop)
    assert trial.steps() == list(range(9))
    assert means(trial, "extra") == [(5, 0.0), (6, 1.0), (7, 2.0)]
    assert means(trial, "later") == means(trial, "last") == [(6, 0.0), (7, 1.0), (8, 2.0)]


def test_a_loop_after_training_that_only_logs_begins_with_a_step_of_its_own(job):
    def loop():
        trained(5)
        for i in range(3):
            wheeltapper.log({"cost": float(i)})
            wheeltapper.step()

    trial = job(loop)
    assert trial.steps() == list(range(8))
    assert numbers(trial, "cost") == [(4, 0.0), (6, 1.0), (7, 2.0)]


def test_a_loop_after_training_that_records_behind_each_step_loses_none(job):
    def loop():
        trained(5)
        for i in range(3):
            wheeltapper.step()
            wheeltapper.save_tensor("population", np.full(8, i, np.float32))
            wheeltapper.log({"cost": float(i)})

    trial = job(loop)
    assert trial.steps()[:8] == list(range(8))
    # What was recorded before the second call told that training was over.
    assert means(trial, "population") == [(5, 0.0), (7, 1.0), (8, 2.0)]
    assert numbers(trial, "cost") == [(4, 0.0), (7, 1.0), (8, 2.0)]


def test_a_first_told_step_behind_evaluation_is_the_last_of_training(job):
    def loop():
        model, optimizer = trained(5)
        for _ in range(3):
            wheeltapper.step(mode="eval")
        wheeltapper.save_tensor("outcome", np.ones(2))
        wheeltapper.step()
        train(model, optimizer, 1)
        wheeltapper.step()

    trial = job(loop)
    assert trial.steps() == list(range(9))
    assert trial.steps(mode="train") == list(range(6))
    assert trial.steps(mode="eval") == [0, 1, 2]
    assert means(trial, "outcome") == [(4, 1.0)]


def test_what_is_saved_in_evaluation_behind_the_first_told_step_is_evaluation(job):
    def loop():
        model, optimizer = trained(5)
        wheeltapper.save_tensor("outcome", np.ones(2))
        wheeltapper.step()
        with wheeltapper.mode("eval"):
            wheeltapper.save_tensor("prediction", np.full(2, 3.0, np.float32))
        wheeltapper.step(mode="eval")
        train(model, optimizer, 1)
        wheeltapper.step()

    trial = job(loop)
    assert means(trial, "outcome") == [(4, 1.0)]
    prediction = trial.tensor("prediction")
    assert prediction.steps(mode="eval") == [0]
    assert prediction.steps(mode="train") == []
    assert trial.steps(mode="train") == list(range(6))
    assert trial.steps(mode="eval") == [0]


DROPS = """
    import array, wheeltapper
    for i in range(120):
        wheeltapper.save_tensor("population", array.array("f", [float(i)] * 8))
        wheeltapper.save_tensor("other", array.array("f", [1.0]))
        wheeltapper.step()
"""


def test_an_array_that_the_plan_leaves_out_is_told_once(script):
    script.prepare(**EVERY_50TH)
    script.run(DROPS)
    assert script.trial().tensor("population").steps() == [0, 50, 100]
    told = [line for line in script.notes().splitlines() if "save_tensor" in line]
    assert len(told) == 1
    assert '"population" is not kept at step 1' in told[0]
    assert "capture.every=1" in told[0]


def test_nothing_is_told_where_every_array_is_kept(script):
    script.run(DROPS)
    assert len(script.trial().tensor("population").steps()) == 120
    assert "save_tensor" not in script.notes()
