"""Goal 9: bytes per sealed statistics row and per scalar point, against smdebug, DuckDB and TensorBoard."""

from __future__ import annotations

from pathlib import Path

import torch
from harness import GoalResult, at_least, at_most

from goals import Settings
from goals.ours import Recorder, make_run
from goals.peers import SmdebugWriter, TensorBoardWriter


def _bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _train(steps: int, settings: Settings) -> tuple[Path, int]:
    """Real statistics: gradients and weights of a small network in training, every step."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU()) for _ in range(6)), torch.nn.Linear(64, 10)
    )
    inputs, labels = torch.randn(256, 64), torch.randint(0, 10, (256,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    tensors = {f"gradient/{name}": parameter.grad for name, parameter in model.named_parameters()}
    tensors |= {name: parameter.detach() for name, parameter in model.named_parameters()}
    recorder = Recorder(make_run(settings.folder, capture__every="1", budget="100%"), tensors)
    for step in range(steps):
        batch = torch.randint(0, 256, (32,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad(set_to_none=False)
        torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        recorder.step()
        optimizer.step()
    recorder.close()
    return recorder.run, steps * len(tensors)


def _scalar_bytes(names: list[str], steps: int, settings: Settings) -> float:
    """Bytes per point of sealed scalars."""
    from wheeltapper import _native

    run = make_run(settings.folder)
    session = _native.Session.start(str(run))
    ids = [session.register_scalar(name) for name in names]
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        session.log(ids, torch.randn(len(names), generator=generator).tolist(), step)
        if step % 50 == 0:
            session.flush(60.0)  # faster than any training: the ring must not overflow
    session.stop(60.0)
    points = _stored_points(run)
    if points != steps * len(names):
        raise RuntimeError(f"{points} points were stored, {steps * len(names)} logged")
    return _bytes_under(run / "scalars") / points


def _stored_points(run: Path) -> int:
    """Rows of the scalars' files, as another reader counts them."""
    import duckdb

    found = duckdb.sql(
        f"select count(*) from read_parquet('{run}/scalars/*.parquet') where name not like 'wheeltapper/%'"
    )
    return int(found.fetchall()[0][0])


def _board_bytes(names: list[str], settings: Settings) -> float:
    """Bytes per point of TensorBoard's event file."""
    steps = 30
    board = TensorBoardWriter(settings.folder)
    for _ in range(steps):
        board.write(dict.fromkeys(names, 1.0))
    board.flush()
    return _bytes_under(board.folder) / (steps * len(names))


def size(settings: Settings) -> GoalResult:
    """Sealed files of a real training run."""
    import duckdb

    steps = 200 if settings.quick else 2000
    run, rows = _train(steps, settings)
    per_row = _bytes_under(run / "stats") / rows
    copy = settings.folder / "duckdb.parquet"
    duckdb.sql(
        f"copy (select * from read_parquet('{run}/stats/*.parquet')) to '{copy}' (format parquet, compression zstd)"
    )
    duck = copy.stat().st_size / rows
    smdebug = SmdebugWriter(settings.folder)
    names = [
        f"smdebug/reductions/{prefix}{name}/t"
        for prefix in ("", "abs_")
        for name in ["min", "max", "mean", "std", "variance", "sum", "prod", "l1", "l2"]
    ]
    smdebug.write({name: torch.zeros(()).numpy() for name in names})
    smdebug_row = _bytes_under(smdebug.folder)
    # The names of the goal's own comparison; beside them the few short ones of a small script.
    many = [f"layer{i // 4}.block/weight_{i}" for i in range(1000)]
    few = [f"metric{i}" for i in range(20)]
    scalar, board_point = _scalar_bytes(many, steps, settings), _board_bytes(many, settings)
    scalar_few, board_few = _scalar_bytes(few, steps, settings), _board_bytes(few, settings)
    scalars = SmdebugWriter(settings.folder)
    scalars.write({name: torch.zeros(()).numpy() for name in many})
    smdebug_point = _bytes_under(scalars.folder) / len(many)
    return GoalResult(
        9,
        "Size: bytes per sealed statistics row and scalar point",
        "30 B a row: the mantissas' noise; 5 B a scalar.",
        [
            at_most("statistics row", 40, per_row, " B"),
            at_least("smaller than smdebug's 18 reductions", 80, smdebug_row / per_row),
            at_least("smaller than DuckDB's zstd copy of the same rows", 1.2, duck / per_row),
            at_most("scalar point", 5, scalar, " B"),
            at_least("scalar smaller than smdebug's", 35, smdebug_point / scalar),
            at_least("scalar smaller than TensorBoard's", 12, board_point / scalar),
        ],
        [
            ("statistics row", f"{per_row:.1f} B", f"DuckDB {duck:.1f} B", f"smdebug {smdebug_row} B"),
            ("scalar point", f"{scalar:.2f} B", f"TensorBoard {board_point:.1f} B", f"smdebug {smdebug_point:.0f} B"),
            ("scalar point, 20 short names", f"{scalar_few:.2f} B", f"TensorBoard {board_few:.1f} B", ""),
        ],
        [
            "Scalars: 1000 names of the form layer249.block/weight_999, as in the goal's comparison; TensorBoard "
            f"repeats the name in every point, so that with 20 short names the ratio is {board_few / scalar_few:.1f}×.",
            "Raw bf16 compression is not built (status.md).",
        ],
    )
