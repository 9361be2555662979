"""Gathering: what a call looks up is let go of, however the call ends."""

import weakref

import pytest
import torch
from conftest import in_child, new_run
from wheeltapper import _native


class Owner:
    """Has a gradient."""

    def __init__(self, grad):
        self.grad = grad


def refuse(_tensor):
    raise ValueError("not a plain tensor")


def test_a_call_that_fails_keeps_no_gradient_alive(tmp_path):
    run_dir = new_run(tmp_path / "run")

    def body():
        session = _native.Session.start(str(run_dir))
        found, refused = Owner(torch.ones(3)), Owner("no tensor")
        plan = _native.GatherPlan((torch.Tensor,), refuse)
        for owner in (found, refused):
            plan.add_attribute(owner, "grad", session.register_tensor(str(id(owner)), shape=(3,)))
        gradient = weakref.ref(found.grad)
        with pytest.raises(ValueError, match="not a plain tensor"):
            plan.record(session)
        found.grad = None
        assert gradient() is None
        found.grad = torch.ones(3)
        refused.grad = None
        assert plan.record(session) == 1
        session.stop()

    status = in_child(body, run_dir, install=False)
    left = run_dir / "child-traceback.txt"
    assert status == 0, left.read_text() if left.exists() else status
