"""Start-up, output and exit: a script behaves byte for byte as it would without Wheeltapper."""

import re
import subprocess
import sys
import textwrap

import pytest
from conftest import PACKAGE, new_run

TRAIN = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = nn.CrossEntropyLoss()
def train(steps):
    for step in range(steps):
        optimizer.zero_grad()
        loss = criterion(model(torch.randn(16, 8)), torch.randint(0, 3, (16,)))
        loss.backward()
        optimizer.step()
        print(step, loss.item())
"""


def without_tracker(stderr):
    """Without what CPython's resource tracker says when it loses a race at exit, in plain runs too."""
    return re.sub(rb"\S*multiprocessing/resource_tracker\.py:\d+: UserWarning: .*\n  warnings\.warn\(.*\n", b"", stderr)


def both(script, text, expect, **options):
    """Output and status with and without the shim, which have to be equal; of the attached run."""
    text = TRAIN + textwrap.dedent(text)
    plain = script.run(text, attached=False, expect=expect, **options)
    attached = script.run(text, expect=expect, **options)
    assert attached.stdout == plain.stdout
    assert without_tracker(attached.stderr) == without_tracker(plain.stderr)
    return attached


def test_output_is_byte_identical_and_the_run_is_recorded(script):
    both(script, "train(4); import sys; print(sys.path, sys.flags.no_site)", 0)
    trial = script.trial()
    assert trial.steps() == [0, 1, 2, 3]
    assert "gradient/0.weight" in trial.tensor_names()
    assert script.notes().startswith("attached: Python")


def test_sys_exit_keeps_its_status(script):
    both(script, "train(2); raise SystemExit(3)", 3)
    assert script.trial().steps() == [0, 1]


def test_an_unhandled_exception_looks_the_same_and_leaves_a_meta(script):
    done = both(script, "train(2); torch.ones(2) @ torch.ones(3)", 1)
    assert b"Traceback" in done.stderr
    (meta,) = [meta for meta in script.trial().metas() if meta["kind"] == "exception"]
    assert meta["type"] == "RuntimeError"
    assert meta["step"] == 2


def test_an_exception_inside_a_forward_of_an_armed_step_looks_the_same(script):
    done = both(script, "train(2); model(torch.randn(2, 9))", 1)
    assert done.stderr.endswith(b"mat1 and mat2 shapes cannot be multiplied (2x9 and 8x16)\n")


def test_an_exception_inside_a_loss_module_looks_the_same(script):
    both(script, "train(2); torch.nn.CrossEntropyLoss()(model(torch.randn(4, 8)), torch.zeros(5).long())", 1)


def test_an_exception_inside_backward_shows_no_frame_of_ours(script):
    done = both(
        script,
        """
        class Bad(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()
            @staticmethod
            def backward(ctx, g):
                raise ValueError("bad")
        train(1)
        Bad.apply(model(torch.randn(4, 8))).sum().backward()
        """,
        1,
    )
    assert bytes(PACKAGE) not in done.stderr


def test_an_exception_in_a_dataset_shows_no_frame_of_ours(script):
    done = both(
        script,
        """
        class Data(torch.utils.data.Dataset):
            def __len__(self): return 4
            def __getitem__(self, i): raise KeyError(i)
        next(iter(torch.utils.data.DataLoader(Data())))
        """,
        1,
    )
    assert bytes(PACKAGE) not in done.stderr


def test_an_import_that_fails_looks_the_same(script):
    package = script.folder / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("import json\nraise RuntimeError('no torch today')\n")
    plain = script.run("import torch", attached=False, expect=1)
    attached = script.run("import torch", expect=1)
    assert without_tracker(attached.stderr) == without_tracker(plain.stderr)


def test_os_exit_loses_no_committed_step(script):
    from wheeltapper import _native

    both(script, "train(5); import os, sys; sys.stdout.flush(); os._exit(7)", 7)
    report = _native.recover_run(str(script.run_dir))
    assert report["ranks_recovered"] == 1
    assert script.trial().steps() == [0, 1, 2, 3, 4]


def test_sigkill_loses_no_committed_step(script):
    from wheeltapper import _native

    both(script, "train(5); import os, signal, sys; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)", -9)
    _native.recover_run(str(script.run_dir))
    assert script.trial().steps() == [0, 1, 2, 3, 4]


def test_sigterm_ends_the_process_as_ever(script):
    both(script, "train(2); import os, signal, sys; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGTERM)", -15)


def test_keyboard_interrupt_ends_the_process_as_ever(script):
    both(script, "train(2); import os, signal, sys; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGINT)", -2)


def test_daemon_threads_do_not_hold_up_the_end(script):
    wait = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    both(script, f"{wait}; train(2)", 0)
    assert script.trial().steps() == [0, 1]


def test_a_thread_that_trains_is_recorded(script):
    both(script, "import threading; t = threading.Thread(target=train, args=(3,)); t.start(); t.join()", 0)
    assert script.trial().steps() == [0, 1, 2]


def test_handlers_of_atexit_may_still_log(script):
    script.run(TRAIN + "import atexit, wheeltapper; atexit.register(lambda: wheeltapper.log({'last': 1})); train(1)")
    assert script.trial().scalars("last").value.tolist() == [1.0]


def test_forked_children_are_inert(script):
    both(
        script,
        """
        import os, sys
        train(2)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            train(3)
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        train(1)
        """,
        0,
    )
    assert script.trial().steps() == [0, 1, 2]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_dataloader_workers_are_inert(script, method):
    both(
        script,
        f"""
        class Data(torch.utils.data.Dataset):
            def __len__(self): return 64
            def __getitem__(self, i):
                return torch.full((8,), float(i)), i % 3
        if __name__ == "__main__":
            loader = torch.utils.data.DataLoader(
                Data(), batch_size=16, num_workers=2, multiprocessing_context="{method}")
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x / 64), y)
                loss.backward()
                optimizer.step()
                print(loss.item())
        """,
        0,
    )
    trial = script.trial()
    assert trial.ranks() == [0]
    assert trial.steps() == [0, 1, 2, 3]
    assert (trial.step_times()["data_wait_ns"][1:] > 0).all()


def test_double_import_leaves_one_agent(script):
    both(
        script,
        """
        import importlib, sys
        train(1)
        for name in [n for n in sys.modules if n == "wheeltapper.torch.hooks"]:
            sys.modules[name].install()
            sys.modules[name].install()
        train(2)
        """,
        0,
    )
    assert script.trial().steps() == [0, 1, 2]


@pytest.mark.parametrize("option", ["-I", "-S", "-E"])
def test_options_that_keep_the_shim_out_leave_no_note(script, option):
    text = TRAIN if option != "-S" else "print(1)"
    script.run(text, options=[option])
    assert script.notes() == ""
    assert script.trial().ranks() == []


def test_the_sitecustomize_behind_the_shim_runs_as_ever(script):
    folder = script.folder / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys; print('mine', __name__, __file__)")
    text = "import sitecustomize; print(sitecustomize.__file__)"
    plain = script.run(text, attached=False, PYTHONPATH=str(folder))
    attached = script.run(text, PYTHONPATH=str(folder))
    assert attached.stdout == plain.stdout
    assert attached.stdout.startswith(b"mine sitecustomize")


def test_a_sitecustomize_that_fails_fails_as_ever(script):
    folder = script.folder / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("raise ValueError('mine')")
    plain = script.run("print(1)", attached=False, PYTHONPATH=str(folder))
    attached = script.run("print(1)", PYTHONPATH=str(folder))
    assert (attached.stdout, attached.stderr) == (plain.stdout, plain.stderr)


def test_a_subprocess_of_the_job_is_attached_too(script):
    script.run(
        f"""
        import subprocess, sys
        subprocess.run([sys.executable, "-c", {TRAIN + "train(2)"!r}], check=True)
        """
    )
    assert script.trial().steps() == [0, 1]


def test_without_a_native_module_the_reason_is_noted_and_nothing_else(script, tmp_path):
    package = tmp_path / "other" / "wheeltapper"
    package.parent.mkdir()
    subprocess.run(["cp", "-r", str(PACKAGE), str(package)], check=True)
    for path in package.glob("_native*"):
        path.unlink()
    text = TRAIN + "train(1)"
    plain = script.run(text, attached=False)
    new_run(script.run_dir)
    attached = script.run(
        text,
        WHEELTAPPER_PACKAGE_DIR=str(package),
        PYTHONPATH=f"{package / '_shim'}:{package.parent}",  # before the installed package
        WHEELTAPPER_STRICT="0",
        WHEELTAPPER_RUN_DIR=str(script.run_dir),
        attached=False,
    )
    assert (attached.stdout, attached.stderr) == (plain.stdout, plain.stderr)
    assert "unobserved: torch: ImportError: cannot import name '_native'" in script.notes()


def test_the_shim_imports_nothing_heavy(script):
    text = "import sys; print('\\n'.join(sorted(sys.modules)))"
    plain = set(script.run(text, attached=False).stdout.decode().split())
    attached = set(script.run(text).stdout.decode().split())
    assert attached - plain <= {"sitecustomize", "atexit"}


def test_the_version_is_that_of_the_package():
    import wheeltapper

    assert re.fullmatch(r"\d+\.\d+\.\d+.*", wheeltapper.__version__)


@pytest.mark.parametrize(
    ("ending", "state", "exit_code"),
    [
        ("", "finished", 0),
        ("raise SystemExit(3)", "failed", 3),
        ("raise RuntimeError('no')", "failed", 1),
        ("import os; os.fork() or sys.exit(5)", "finished", 0),
    ],
)
def test_a_run_that_the_job_made_itself_ends_with_its_exit_status(tmp_path, ending, state, exit_code):
    import wheeltapper

    text = f"import sys\n{TRAIN}\nimport wheeltapper\nwheeltapper.attach(model, optimizer)\ntrain(2)\n{ending}\n"
    (tmp_path / "train.py").write_text(text)
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert done.returncode == exit_code, done.stderr.decode()
    (run_dir,) = [path for path in (tmp_path / "wheeltapper-runs").iterdir() if path.is_dir()]
    trial = wheeltapper.open(run_dir)
    assert trial.steps() == [0, 1]
    assert (trial.state, trial.end["exit_code"]) == (state, exit_code)
