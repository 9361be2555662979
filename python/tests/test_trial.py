"""Reading a run from Python: names, steps, raw values without a copy, tables for other libraries."""

import numpy as np
import pytest
import torch
import wheeltapper
from models import Net, batch, train
from wheeltapper import errors

RAW = {"WHEELTAPPER_CAPTURE_WEIGHTS": "raw", "WHEELTAPPER_CAPTURE_GRADIENTS": "hist"}


def loop():
    torch.manual_seed(0)
    model = Net()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), 3)
    wheeltapper.save_tensor("half", model.first.weight.detach().to(torch.bfloat16))
    wheeltapper.flush()


@pytest.fixture
def trial(job):
    return job(loop, **RAW)


def test_names_filter_by_pattern_collection_and_kind(trial):
    assert trial.tensor_names(regex="^gradient/first") == ["gradient/first.bias", "gradient/first.weight"]
    assert trial.tensor_names(collection="weights") == ["first.weight", "last.weight"]
    assert trial.tensor_names(collection="biases") == ["first.bias", "last.bias"]
    assert "loss/backward" in trial.tensor_names(kind="scalar")
    assert {"weights", "gradients", "losses"} <= set(trial.collections())
    assert trial.modes() == ["train"]
    assert trial.ranks() == [0]
    assert trial.state_of_step(1) == "available"


def test_raw_values_come_without_a_copy_and_read_only(trial):
    weight = trial.tensor("first.weight")
    torch.manual_seed(0)
    model = Net()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), 3)
    value = weight.value(2)
    assert value.dtype == np.float32
    assert value.shape == (16, 8)
    np.testing.assert_array_equal(value, model.first.weight.detach().numpy())
    assert not value.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        value[0] = 1
    assert sorted(weight.values()) == [0, 1, 2]


def test_all_values_are_what_value_says_of_each(trial):
    for name in ("first.weight", "last.weight", "half"):
        tensor = trial.tensor(name)
        values = tensor.values()
        assert list(values) == sorted(values)
        assert values, name
        for step, value in values.items():
            one = tensor.value(step)
            assert (value.dtype, value.shape) == (one.dtype, one.shape)
            np.testing.assert_array_equal(value, one)
            assert not value.flags.writeable
    assert trial.tensor("first.weight").values(rank=7) == {}
    assert trial.tensor("first.bias").values() == {}, "only its statistics were kept"


def test_values_without_extents_are_arrays_too(job):
    def steps():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(3):
            wheeltapper.save_tensor("scale", torch.tensor(float(step)))
            train(model, optimizer, 1)
        wheeltapper.flush()

    values = job(steps, **RAW).tensor("scale").values()
    assert len(values) == 3
    assert all(isinstance(value, np.ndarray) and value.shape == () for value in values.values())
    assert [float(value) for value in values.values()] == [0.0, 1.0, 2.0]


def test_values_outlive_the_trial(trial):
    value = trial.tensor("first.weight").value(0)
    total = value.sum()
    del trial
    assert value.sum() == total


def test_missing_things_say_which(trial):
    with pytest.raises(errors.NotFoundError, match="no such name"):
        trial.tensor("nothing")
    with pytest.raises(errors.NotFoundError):
        trial.tensor("first.weight").value(99)
    with pytest.raises(errors.NotFoundError, match="not recorded at step 99"):
        trial.tensor("first.weight").reduction_value(99, "l2")
    with pytest.raises(errors.InvalidArgumentError):
        trial.tensor("first.weight").reduction_values("l3")


def test_histograms_hold_all_elements(trial):
    histograms = trial.tensor("gradient/first.weight").histograms()
    assert [sum(count for _, _, count in bins) for bins in histograms["bins"]] == [128] * 3


def test_reductions_by_every_name(trial):
    weight = trial.tensor("first.weight")
    value = weight.value(1).astype(np.float64)
    for name, expected in {
        "min": value.min(),
        "max": value.max(),
        "mean": value.mean(),
        "std": value.std(),
        "l1": np.abs(value).sum(),
        "l2": np.linalg.norm(value),
        "numel": 128,
    }.items():
        assert weight.reduction_value(1, name) == pytest.approx(expected, rel=1e-5), name
    assert weight.reduction_value(1, "mean", abs=True) == pytest.approx(np.abs(value).mean(), rel=1e-5)
    assert weight.reduction_value(1, "std", ddof=1) == pytest.approx(value.std(ddof=1), rel=1e-5)


def test_tables_open_in_other_libraries(trial):
    duckdb = pytest.importorskip("duckdb")
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    table = trial.table("stats")
    arrow = pyarrow.table(table)
    arrow.validate(full=True)
    assert arrow.num_rows == len(table)
    assert arrow.column_names == table.column_names
    frame = polars.DataFrame(table)
    assert frame.height == len(table)
    assert pandas.DataFrame(arrow.to_pandas()).shape[0] == len(table)
    reader = pyarrow.RecordBatchReader.from_stream(table)
    assert duckdb.from_arrow(reader).aggregate("count(*)").fetchall() == [(len(table),)]
    wanted = trial.tensor("first.weight").reduction_values("l2").value.tolist()
    found = frame.filter(polars.col("tensor").cast(str) == "first.weight")["l2"].to_list()
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["scalars", "stats", "tensors", "steps"])
def test_every_table_has_rows_and_columns(trial, name):
    table = trial.table(name)
    assert len(table) > 0
    for column in table.column_names:
        values = table.column(column)
        assert len(values if isinstance(values, list) else np.asarray(values)) == len(table)


def test_step_times_and_overhead(trial):
    times = trial.step_times()
    # The tensor saved after the last step is in a step of its own.
    assert times["step"].tolist() == [0, 1, 2, 3]
    assert (times["blocked_ns"] > 0).all()
    # The first step has no length, so it counts on neither side.
    assert 0 < trial.overhead.blocked_ns <= times["blocked_ns"].sum()
    assert trial.overhead.elapsed_ns == times["step_ns"].sum()


def test_a_live_run_can_be_followed(job, tmp_path):
    def follow():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        live = None
        for step in range(3):
            model(batch()[0]).sum().backward()
            optimizer.step()
            wheeltapper.flush()
            live = live or wheeltapper.open(tmp_path / "run")
            live.wait_for_step(step, timeout=10)
            live.refresh()
            assert live.steps() == list(range(step + 1))
        with pytest.raises(errors.DeadlineExceededError):
            live.wait_for_step(99, timeout=0.2)

    job(follow)


def test_the_value_of_a_number_is_the_number_at_that_step(job):
    def loop():
        for i in range(3):
            wheeltapper.log({"cost": float(i)})
            wheeltapper.step()
        wheeltapper.log({"cost": 7.0}, mode="eval", step=1)

    cost = job(loop).tensor("cost")
    value = cost.value(2)
    assert (value.shape, value.dtype, float(value)) == ((), np.float64, 2.0)
    assert not value.flags.writeable
    assert float(cost.value(1, mode="eval")) == 7.0
    assert {step: float(value) for step, value in cost.values().items()} == {0: 0.0, 1: 1.0, 2: 2.0}
    with pytest.raises(errors.NotFoundError, match=r"nothing was logged at step 9 \(train\), rank 0"):
        cost.value(9)
