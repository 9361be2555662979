"""Training is bit for bit the same with and without Wheeltapper."""

import pytest

LOOP = """
import torch, warnings
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten())
        self.head = nn.Linear(4 * 36, 10)
    def forward(self, x):
        return self.head(self.body(x))
model = Net()
criterion = nn.CrossEntropyLoss()
data = torch.utils.data.TensorDataset(torch.randn(96, 1, 8, 8), torch.randint(0, 10, (96,)))
loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)
{optimizer}
for epoch in range(3):
    model.train()
    for x, y in loader:
        def closure():
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            {backward}
            print(loss.item().hex())
            return loss
        {step}
    model.eval()
    with torch.no_grad():
        print(sum(criterion(model(x), y).item() for x, y in loader).hex())
print([float(p.double().sum()).hex() for p in model.parameters()], torch.get_rng_state().sum())
"""

PLAIN_STEP = "closure(); optimizer.step()"
CASES = {
    "sgd": ("torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)", "loss.backward()", PLAIN_STEP),
    "adamw": ("torch.optim.AdamW(model.parameters(), lr=0.01)", "loss.backward()", PLAIN_STEP),
    "fused": ("torch.optim.AdamW(model.parameters(), fused=True)", "loss.backward()", PLAIN_STEP),
    "lbfgs": ("torch.optim.LBFGS(model.parameters(), max_iter=3)", "loss.backward()", "optimizer.step(closure)"),
    "amp": (
        "torch.optim.SGD(model.parameters(), lr=0.1); scaler = torch.amp.GradScaler('cpu')",
        "scaler.scale(loss).backward()",
        "closure(); scaler.step(optimizer); scaler.update()",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_losses_weights_and_random_state_are_bit_identical(script, case):
    optimizer, backward, step = CASES[case]
    text = LOOP.format(optimizer=f"optimizer = {optimizer}", backward=backward, step=step)
    plain = script.run(text, attached=False)
    attached = script.run(text)
    assert attached.stdout == plain.stdout
    assert attached.stderr == plain.stderr
    trial = script.trial()
    assert len(trial.steps()) == 18
    assert set(trial.scalars("loss/CrossEntropyLoss").mode) == {"train", "eval"}
