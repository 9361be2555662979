"""What people do to models beside training them comes out the same with and without Wheeltapper."""

import re
import textwrap

TRAINED = """
import copy, pickle, torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
def train():
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    print(loss.item().hex())
train()
"""

# Each runs while the open step is armed; what compiles comes last, for it ends the watching of modules.
TRANSFORMS = {
    "script": "print(torch.jit.script(model).code, torch.jit.script(model)(x).sum().item().hex())",
    "trace": "print(torch.jit.trace(model, x).graph, torch.jit.trace(model, x)(x).sum().item().hex())",
    "fx": "g = torch.fx.symbolic_trace(model); print(g.code, g(x).sum().item().hex())",
    "export": "e = torch.export.export(model, (x,)); print(e, e.module()(x).sum().item().hex())",
    "loss module": "print(torch.jit.script(criterion).code, torch.fx.symbolic_trace(criterion).code)",
    "copies": """
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), pickle.loads(pickle.dumps(criterion))):
            print(other, list(other._forward_hooks), sorted(vars(other)))""",
    "functional": """
        from torch.func import functional_call, grad, vmap
        state = dict(model.named_parameters())
        per_sample = vmap(grad(lambda p, x, y: criterion(functional_call(model, p, (x[None],)), y[None])), (None, 0, 0))
        print({name: value.sum().item().hex() for name, value in per_sample(state, x, y).items()})""",
    "names": "print(nn.Module._call_impl.__qualname__, nn.Module.compile.__doc__[:20], nn.Module.__call__.__name__)",
    "compiled class": """
        @torch.compile(backend="eager")
        class Part(nn.Linear):
            pass
        from torch._dynamo.utils import counters
        print(Part(8, 2)(x).sum().item().hex(), dict(counters["graph_break"]))""",
}


def script_of(parts):
    """One script of all parts, with a training step behind each: a process takes seconds to import torch."""
    return TRAINED + "".join(
        f"print({name!r})\n{textwrap.dedent(code).strip()}\ntrain()\n" for name, code in parts.items()
    )


def test_transformed_models_are_the_same(script):
    text = script_of(TRANSFORMS)
    plain = script.run(text, attached=False)
    attached = script.run(text)
    assert attached.stdout.splitlines() == plain.stdout.splitlines()
    assert attached.stderr == plain.stderr
    assert script.trial().steps() == list(range(1 + len(TRANSFORMS)))


# Who looks on at training, without Wheeltapper's own operators among what is seen.
ONLOOKERS = {
    "dispatch mode": """
        from torch.utils._python_dispatch import TorchDispatchMode
        seen = []
        class Log(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                seen.append(str(func))
                return func(*args, **(kwargs or {}))
        with Log():
            train()
        print(seen)""",
    "function mode": """
        from torch.overrides import TorchFunctionMode
        seen = []
        class Log(TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                seen.append(getattr(func, "__name__", str(func)))
                return func(*args, **(kwargs or {}))
        with Log():
            train()
        print(seen)""",
    "profiler": """
        from torch.autograd.profiler import profile
        with profile(use_kineto=False) as seen:
            train()
        print(sorted((event.key, event.count) for event in seen.key_averages()))""",
    "fake tensors": """
        from torch._subclasses.fake_tensor import FakeTensorMode
        with FakeTensorMode():
            fake = nn.Linear(8, 3)
            stepper = torch.optim.SGD(fake.parameters(), lr=0.1)
            criterion(fake(torch.randn(4, 8)), torch.tensor([0, 1, 2, 0])).backward()
            stepper.step()""",
    "compiled step": """
        from torch._dynamo.utils import counters
        step = torch.compile(optimizer.step, backend="eager")
        for _ in range(3):
            criterion(model(x), y).backward()
            step()
        print(model[0].weight.sum().item().hex(), dict(counters["graph_break"]))""",
}


def test_onlookers_see_the_same(script):
    text = script_of(ONLOOKERS)
    plain = script.run(text, attached=False)
    attached = script.run(text)
    assert attached.stdout.splitlines() == plain.stdout.splitlines()
    assert undated(attached.stderr) == undated(plain.stderr)
    assert len(script.trial().steps()) >= 1 + len(ONLOOKERS)


def undated(stderr):
    """Without numbers: torch's profiler and compiler say the time of day and the process."""
    return re.sub(rb"\d+", b"", stderr)
