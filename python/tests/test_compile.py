"""torch.compile: no graph break, no recompilation, the same graph and the same numbers."""

import json
import os

import pytest

COMPILED = """
import json, torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.relu, self.last = nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)
        self.criterion = nn.CrossEntropyLoss()
    def forward(self, x, y):
        return self.criterion(self.last(self.relu(self.first(x))), y)

model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
{setup}
losses = []
for step in range(6):
    optimizer.zero_grad()
    loss = call(torch.randn(16, 8), torch.randint(0, 3, (16,)))
    loss.backward()
    optimizer.step()
    losses.append(loss.item().hex())
from torch._dynamo.utils import counters
print(json.dumps({{
    "losses": losses,
    "stats": dict(counters["stats"]),
    "breaks": dict(counters["graph_break"]),
    "frames": dict(counters["frames"]),
}}))
"""

SETUPS = {
    "module": "call = torch.compile(model, backend={backend!r})",
    "in place": "model.compile(backend={backend!r}); call = model",
    "function": "call = torch.compile(lambda x, y: model(x, y), backend={backend!r})",
    "submodule": "model.first = torch.compile(model.first, backend={backend!r}); call = model",
}


@pytest.mark.parametrize("setup", SETUPS)
def test_compiled_training_is_the_same_with_and_without(script, setup):
    text = COMPILED.format(setup=SETUPS[setup].format(backend="aot_eager"))
    plain = script.run(text, attached=False)
    attached = script.run(text)
    assert json.loads(attached.stdout) == json.loads(plain.stdout)
    assert attached.stderr == plain.stderr
    trial = script.trial()
    assert trial.steps() == list(range(6))
    assert "gradient/first.weight" in trial.tensor_names()
    assert any("torch.compile" in meta.get("message", "") for meta in trial.metas())
    assert any(gap["reason"] == "unsupported" for gap in trial.gaps())


@pytest.mark.slow
def test_inductor_is_the_same_with_and_without(script):
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(script.folder / "inductor"))
    text = COMPILED.format(setup=SETUPS["module"].format(backend="inductor"))
    plain = script.run(text, attached=False, timeout=500, TORCHINDUCTOR_CACHE_DIR=cache)
    attached = script.run(text, timeout=500, TORCHINDUCTOR_CACHE_DIR=cache)
    first, second = json.loads(plain.stdout), json.loads(attached.stdout)
    assert second["losses"] == first["losses"]
    assert second["breaks"] == first["breaks"]
