"""What the public functions do with wrong arguments and a wrong configuration; what the fuse tells."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import wheeltapper

PLAIN_LOOP = """
    import time, torch, wheeltapper
    from wheeltapper import _session
    from wheeltapper._fuse import FUSE
    from wheeltapper.torch.capture import CAPTURE
    from torch._dynamo.utils import unpatched_nn_module_call_impl
    FUSE.strict = False
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    {attach}
    for step in range(20):
        if step == 2:
            CAPTURE._finish = None  # every step fails from here on
        optimizer.zero_grad()
        model(torch.ones(3, 4)).sum().backward()
        optimizer.step()
    while not len(wheeltapper.open(_session.running().run_dir).gaps()):
        time.sleep(0.01)
    print(FUSE.blown, torch.nn.Module._call_impl is unpatched_nn_module_call_impl)
"""


def alone(tmp_path, text):
    """Runs a script without a watcher, as users do; its CompletedProcess."""
    (tmp_path / "mine.py").write_text(textwrap.dedent(text))
    env = {name: value for name, value in os.environ.items() if not name.startswith("WHEELTAPPER_")}
    return subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=180
    )


def the_run(tmp_path):
    (run,) = (tmp_path / "wheeltapper-runs").glob("mine-*")
    return wheeltapper.open(run)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: wheeltapper.log(3.0), r'log\("loss", x\), not float'),
        (lambda: wheeltapper.log("loss"), r"not str"),
        (lambda: wheeltapper.log({"loss": 1.0}, 5), r"not dict and int"),
        (lambda: wheeltapper.log("loss", "much"), r'the value of "loss" is a number, not str'),
        (lambda: wheeltapper.log("loss", torch.ones(3)), r'the value of "loss" is a number, not Tensor'),
        (lambda: wheeltapper.log({"loss": 1.0}, step="3"), r"str"),
        (lambda: wheeltapper.log({"loss": 1.0}, mode=1), r"a mode is a str, not int"),
        (wheeltapper.log, r"log\(\)"),
        (lambda: wheeltapper.log({}, stp=1), r"stp"),
        (lambda: wheeltapper.save_tensor(torch.ones(2), "name"), r"a name is a str, not Tensor"),
        (lambda: wheeltapper.save_tensor("name", [1.0]), r"a tensor or a buffer, not list"),
        (lambda: wheeltapper.save_tensor("name", np.ones(1), collection=3), r"a collection is a str, not int"),
        (lambda: wheeltapper.step("train"), r"step\(\)"),
        (lambda: wheeltapper.step(mode=None), r"a mode is a str, not NoneType"),
        (lambda: wheeltapper.flush("soon"), r"soon"),
        (lambda: wheeltapper.attach(object()), r"a model is a torch\.nn\.Module, not object"),
        (lambda: wheeltapper.attach(None, "SGD"), r"an optimizer is a torch\.optim\.Optimizer, not str"),
        (lambda: wheeltapper.attach(loss=torch.nn.functional.mse_loss), r"a loss is a torch\.nn\.Module, not"),
    ],
)
def test_wrong_arguments_are_the_callers_error_and_no_reason_to_stop_recording(monkeypatch, call, says):
    from wheeltapper._fuse import FUSE

    monkeypatch.setattr(FUSE, "strict", False)
    with pytest.raises((TypeError, ValueError), match=says) as caught:
        call()
    assert isinstance(caught.value, TypeError) or says == "soon"
    assert FUSE.errors == 0


def test_log_takes_one_name_and_its_value(job):
    def loop():
        wheeltapper.log("a", 1.5)
        wheeltapper.log("a", torch.tensor(2.5), 7)
        wheeltapper.log("a", np.float32(3.5), step=np.int64(9), mode="eval")
        wheeltapper.log("group", {"inner": 4})

    trial = job(loop)
    found = trial.scalars("a")
    assert found.value.tolist() == [1.5, 2.5, 3.5]
    assert found.step.tolist() == [0, 7, 9]
    assert found.mode == ["train", "train", "eval"]
    assert trial.scalars("group/inner").value.tolist() == [4.0]


def test_a_loop_of_ones_own_logs_to_the_step_that_it_ends(job):
    def loop():
        for value in range(4):
            wheeltapper.log("cost", value)
            wheeltapper.step()

    assert job(loop).scalars("cost").step.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "call", ["attach()", 'log("x", 1)', "step()", 'save_tensor("x", memoryview(b"x"))'], ids=lambda call: call[:4]
)
def test_a_mistake_in_the_configuration_is_raised_to_who_asked(tmp_path, call):
    (tmp_path / "wheeltapper.toml").write_text("[capture]\nevry = 3\n")
    done = alone(
        tmp_path,
        f"""
        import os, wheeltapper
        try:
            wheeltapper.{call}
        except wheeltapper.errors.InvalidArgumentError as error:
            print(error)
        os.remove("wheeltapper.toml")
        wheeltapper.{call}  # mended, as in a notebook
        wheeltapper.log({{"after": 1}})
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 'unknown configuration key "capture.evry"' in done.stdout
    assert 'did you mean "capture.every"' in done.stdout
    assert the_run(tmp_path).scalars("after").value.tolist() == [1.0]


def test_without_a_watcher_the_first_error_and_the_end_of_recording_are_on_stderr(tmp_path):
    done = alone(tmp_path, PLAIN_LOOP.format(attach="wheeltapper.attach(model, optimizer)"))
    assert (done.returncode, done.stdout) == (0, "True True\n")
    first, last = done.stderr.splitlines()
    assert first.startswith("wheeltapper: an error of Wheeltapper's own, the job goes on: TypeError: ")
    assert last.startswith("wheeltapper: recording ended at step 2 after 8 errors, the job goes on: TypeError: ")


def test_under_a_watcher_they_are_noted_for_it(script):
    done = script.run(PLAIN_LOOP.format(attach=""))
    assert (done.stdout, done.stderr) == (b"True True\n", b"")
    notes = script.notes()
    assert "an error of Wheeltapper's own, the job goes on: TypeError" in notes
    assert "recording ended at step 2 after 8 errors" in notes


def test_a_run_without_a_watcher_lies_where_the_configuration_says_and_holds_no_address(tmp_path):
    settings = '[storage]\npath = "kept/runs"\n[actions.webhook]\nurl = "https://example.invalid/secret"\n'
    (tmp_path / "wheeltapper.toml").write_text(settings)
    done = alone(tmp_path, "import wheeltapper; wheeltapper.log('a', 1)")
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = (tmp_path / "kept" / "runs").glob("mine-*")
    assert wheeltapper.open(run).scalars("a").value.tolist() == [1.0]
    assert "secret" not in (run / "config.json").read_text()


def test_torchs_compiler_never_takes_a_tap_for_torchs_own_method(tmp_path):
    done = alone(
        tmp_path,
        """
        import torch, wheeltapper
        model = torch.nn.Linear(4, 2)
        wheeltapper.attach(model)
        print(type(torch.nn.Module._call_impl).__name__)
        torch.optim.SGD(model.parameters(), lr=0.1)
        from torch._dynamo.utils import unpatched_nn_module_call_impl
        print(type(unpatched_nn_module_call_impl).__name__, type(torch.nn.Module._call_impl).__name__)
        """,
    )
    assert done.stdout == "Tap\nfunction Tap\n", done.stderr
