"""Every reader people use reads our Parquet files: equal values, nulls, lists, statistics, pruning.

The doubles in the expectations are 64-bit patterns, so NaN, infinities and both zeros are compared exactly.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

duckdb = pytest.importorskip("duckdb")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pd = pytest.importorskip("pandas")

TABLES = ["empty", "one", "small", "pages", "special"]
TENSORS, STEPS = 60, 3000  # of stats.parquet: sorted by tensor, then step = 0, 10, …


def _bits(value: float | None) -> str | None:
    return None if value is None else str(struct.unpack("<Q", struct.pack("<d", value))[0])


def _expected(samples: Path, table: str) -> dict[str, Any]:
    return json.loads((samples / f"{table}.parquet.json").read_text())


def _comparable(values: list[Any]) -> list[Any]:
    return [_bits(value) if isinstance(value, float) else value for value in values]


def _assert_columns(got: dict[str, list[Any]], expected: dict[str, list[Any]]) -> None:
    assert set(got) == set(expected)
    for name, values in expected.items():
        assert _comparable(got[name]) == values, name


def _micros(array: Any) -> Any:
    """A pyarrow table with timestamps as integers, so that no reader's time type gets in the way."""
    for index, field in enumerate(array.schema):
        if pa.types.is_timestamp(field.type):
            assert field.type.tz == "UTC"
            assert field.type.unit == "us"
            array = array.set_column(index, field.name, array.column(index).cast(pa.int64()))
    return array


@pytest.mark.parametrize("table", TABLES)
def test_pyarrow_reads_equal_values_and_checks_crcs(samples: Path, table: str) -> None:
    path = samples / f"{table}.parquet"
    got = _micros(pq.read_table(path, page_checksum_verification=True))
    got.validate(full=True)
    _assert_columns(got.to_pydict(), _expected(samples, table)["columns"])
    kept = pq.read_metadata(path).metadata or {}
    for key, value in (_expected(samples, table)["metadata"] or {}).items():
        assert kept[key.encode()].decode() == value


@pytest.mark.parametrize("table", TABLES)
def test_duckdb_reads_equal_values(samples: Path, table: str) -> None:
    relation = duckdb.sql(f"select * from '{samples / table}.parquet'")
    columns: list[list[Any]] = [[] for _ in relation.columns]
    names = relation.columns
    select = ", ".join(f'epoch_us("{n}") as "{n}"' if n == "time" else f'"{n}"' for n in names)
    for row in duckdb.sql(f"select {select} from '{samples / table}.parquet'").fetchall():
        for index, value in enumerate(row):
            columns[index].append(value)
    _assert_columns(dict(zip(names, columns, strict=True)), _expected(samples, table)["columns"])


@pytest.mark.parametrize("table", TABLES)
def test_polars_reads_equal_values(samples: Path, table: str) -> None:
    frame = pl.read_parquet(samples / f"{table}.parquet")
    if "time" in frame.columns:
        assert frame.schema["time"] == pl.Datetime("us", "UTC")
        frame = frame.with_columns(pl.col("time").cast(pl.Int64))
    got = {name: frame[name].to_list() for name in frame.columns}
    _assert_columns(got, _expected(samples, table)["columns"])


@pytest.mark.parametrize("table", TABLES)
def test_pandas_reads_equal_values(samples: Path, table: str) -> None:
    frame = pd.read_parquet(samples / f"{table}.parquet", engine="pyarrow")
    for name, values in _expected(samples, table)["columns"].items():
        column = frame[name]
        assert len(column) == len(values)
        if name == "time":
            assert column.dt.as_unit("us").astype("int64").tolist() == values
        elif column.dtype == np.float64:  # pandas cannot tell a null from a NaN here
            want = [math.nan if v is None else struct.unpack("<d", struct.pack("<Q", int(v)))[0] for v in values]
            np.testing.assert_array_equal(column.to_numpy(), np.array(want))
        else:
            assert [v.tolist() if isinstance(v, np.ndarray) else v for v in column] == values


def test_schema_says_what_the_columns_are(samples: Path) -> None:
    schema = pq.read_schema(samples / "small.parquet")
    assert schema.field("name").type == pa.string()
    assert schema.field("i32").type == pa.int32()
    assert schema.field("i64").type == pa.int64()
    assert schema.field("time").type == pa.timestamp("us", tz="UTC")
    assert schema.field("f64").type == pa.float64()
    assert schema.field("list").type == pa.list_(pa.field("element", pa.int64(), nullable=False))
    assert {f.name for f in schema if f.nullable} == {"maybe"}


def test_encodings_are_the_promised_ones(samples: Path) -> None:
    group = pq.read_metadata(samples / "small.parquet").row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i).encodings for i in range(group.num_columns)}
    assert "RLE_DICTIONARY" in encodings["name"]
    for name in ["i32", "i64", "time", "list.list.element"]:
        assert "DELTA_BINARY_PACKED" in encodings[name]
    assert "BYTE_STREAM_SPLIT" in encodings["f64"]
    assert "BYTE_STREAM_SPLIT" in encodings["maybe"]
    assert all(group.column(i).compression == "ZSTD" for i in range(group.num_columns))


def _statistics(samples: Path, table: str, row_group: int = 0) -> dict[str, Any]:
    group = pq.read_metadata(samples / f"{table}.parquet").row_group(row_group)
    return {group.column(i).path_in_schema: group.column(i).statistics for i in range(group.num_columns)}


def test_chunk_statistics_equal_those_of_the_values(samples: Path) -> None:
    metadata = pq.read_metadata(samples / "small.parquet")
    table = pq.read_table(samples / "small.parquet")
    start = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        part = table.slice(start, rows)
        start += rows
        for name, statistics in _statistics(samples, "small", group).items():
            column = part.column(name.split(".")[0])
            values = [v for v in column.to_pylist() if v is not None]
            if name.endswith("element"):
                values = [v for row in values for v in row]
            else:
                assert statistics.null_count == column.null_count, name
            has_nan = any(isinstance(v, float) and math.isnan(v) for v in values)
            assert statistics.has_min_max != has_nan, name
            assert has_nan or (statistics.min, statistics.max) == (min(values), max(values)), name


def test_statistics_of_odd_columns_say_nothing_untrue(samples: Path) -> None:
    for group in range(pq.read_metadata(samples / "special.parquet").num_row_groups):
        statistics = _statistics(samples, "special", group)
        assert not statistics["only_nan"].has_min_max
        assert not statistics["only_null"].has_min_max
        assert statistics["only_null"].null_count == 6
        assert not statistics["empty_lists.list.element"].has_min_max
        assert not statistics["some_nan"].has_min_max  # DuckDB and others would skip the NaN it does not cover
        assert (statistics["no_null"].min, statistics["no_null"].max) == (1.0, 6.0)
        for name in ["zeros", "plus_zeros"]:  # a reader that knows only one zero must still find the other
            assert _bits(statistics[name].min) == _bits(-0.0)
            assert _bits(statistics[name].max) == _bits(0.0)


@pytest.mark.parametrize(
    "condition", ["some_nan = 2", "isnan(some_nan)", "some_nan > 1", "some_nan > 5", "some_nan != 2",
                  "some_nan < 0", "zeros = 0", "plus_zeros = -0.0",
                  "only_null is null", "only_null is not null", "falling < 3", "same = 'only'", "len(empty_lists) = 0",
                  "isnan(only_nan)", "only_nan > 5"]
)  # fmt: skip
def test_filters_that_use_statistics_find_the_same_rows_as_those_that_cannot(samples: Path, condition: str) -> None:
    path = samples / "special.parquet"
    pruned = duckdb.sql(f"select count(*) from '{path}' where {condition}").fetchall()
    duckdb.sql(f"create or replace temp table plain as select * from '{path}'")
    assert pruned == duckdb.sql(f"select count(*) from plain where {condition}").fetchall()


def test_stats_file_is_pruned_by_its_statistics(samples: Path) -> None:
    path = samples / "stats.parquet"
    metadata = pq.read_metadata(path)
    assert metadata.num_rows == TENSORS * STEPS
    group = metadata.row_group(0)
    assert [c.column_index for c in group.sorting_columns] == [0, 1]
    assert all(group.column(i).has_offset_index and group.column(i).has_column_index for i in range(group.num_columns))
    tensor = f"module.{1_000_000 + 41}.weight"
    want = [step * 10 for step in range(STEPS)]
    groups = [
        g for g in range(metadata.num_row_groups)
        if metadata.row_group(g).column(0).statistics.min <= tensor <= metadata.row_group(g).column(0).statistics.max
    ]  # fmt: skip
    assert len(groups) < metadata.num_row_groups
    filtered = pq.read_table(path, columns=["step"], filters=[("tensor", "=", tensor)])
    assert filtered["step"].to_pylist() == want
    rows = duckdb.sql(f"select step from '{path}' where tensor = '{tensor}' order by step").fetchall()
    assert [row[0] for row in rows] == want
    lazy = pl.scan_parquet(path).filter((pl.col("tensor") == tensor) & (pl.col("step") < 500)).collect()
    assert lazy["step"].to_list() == want[:50]
    frame = pd.read_parquet(path, columns=["step"], filters=[("tensor", "==", tensor)])
    assert frame["step"].tolist() == want


def test_globs_join_files_with_and_without_nulls(samples: Path) -> None:
    query = f"select count(*), count(maybe), count(value3) from read_parquet('{samples}/*.parquet', union_by_name=true)"
    ((rows, maybe, value3),) = duckdb.sql(query).fetchall()
    assert rows == 0 + 1 + 800 + 70_000 + 6 + TENSORS * STEPS
    assert 0 < maybe < 70_801
    assert value3 == TENSORS * STEPS


def test_page_index_prunes_to_the_right_rows(samples: Path) -> None:
    """DataFusion skips pages by the column index and seeks by the offset index."""
    datafusion = pytest.importorskip("datafusion")
    config = datafusion.SessionConfig().set("datafusion.execution.parquet.pushdown_filters", "true")
    context = datafusion.SessionContext(config.set("datafusion.execution.parquet.enable_page_index", "true"))
    context.register_parquet("stats", str(samples / "stats.parquet"))
    context.register_parquet("small", str(samples / "small.parquet"))
    tensor = f"module.{1_000_000 + 17}.weight"
    query = f"select step from stats where tensor = '{tensor}' and step between 10000 and 10100 order by step"
    assert context.sql(query).to_pydict()["step"] == list(range(10_000, 10_101, 10))
    plain = pl.read_parquet(samples / "small.parquet")
    for low in range(0, 800, 50):
        value = plain["time"].cast(pl.Int64)[low]
        microsecond = "'Timestamp(Microsecond, Some(\"UTC\"))'"
        query = f"select name, maybe, list from small where time >= arrow_cast({value}, {microsecond})"
        got = context.sql(query).to_pydict()
        want = plain.filter(pl.col("time").cast(pl.Int64) >= value)
        assert got["list"] == want["list"].to_list()
        assert got["name"] == want["name"].to_list()
        assert _comparable(got["maybe"]) == _comparable(want["maybe"].to_list())
