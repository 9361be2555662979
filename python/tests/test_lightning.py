"""PyTorch Lightning, the real one: its loop calls step(closure) with forward and backward inside."""

import pytest

SCRIPT = """
import warnings; warnings.filterwarnings("ignore")
import logging; logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
import hashlib, lightning, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
lightning.seed_everything(0, verbose=False)
X = torch.randn(64, 8); Y = (X.sum(1) > 0).long()

class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 16); self.second = nn.Linear(16, 2)
    def forward(self, x):
        return self.second(torch.relu(self.first(x)))
    def training_step(self, batch, index):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss
    def validation_step(self, batch, index):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self(x), y))
    def configure_optimizers(self):
        return torch.optim.OPTIMIZER(self.parameters(), lr=0.1)

class Adversarial(Net):
    "Two optimizers, stepped by hand."
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.first, self.second)]
    def training_step(self, batch, index):
        x, y = batch
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(nn.functional.cross_entropy(self(x), y))
            optimizer.step()

model = MODEL()
trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, ARGUMENTS)
trainer.fit(model, DataLoader(TensorDataset(X, Y), 8), DataLoader(TensorDataset(X, Y), 32))
digest = hashlib.sha256()
for parameter in model.parameters():
    digest.update(parameter.detach().numpy().tobytes())
print(trainer.global_step, digest.hexdigest())
"""


@pytest.mark.parametrize(
    ("model", "optimizer", "arguments", "steps"),
    [
        ("Net", "SGD", "", 8),
        ("Net", "AdamW", "accumulate_grad_batches=2, gradient_clip_val=0.5", 4),
        ("Net", "LBFGS", "", 8),
        ("Adversarial", "SGD", "", 8),
    ],
)
def test_lightning_trains_as_ever_and_every_step_is_recorded(script, model, optimizer, arguments, steps):
    text = SCRIPT.replace("MODEL", model).replace("OPTIMIZER", optimizer).replace("ARGUMENTS", arguments)
    plain = script.run(text, attached=False)
    attached = script.run(text)
    assert attached.stdout == plain.stdout, "other weights than without Wheeltapper"
    trial = script.trial()
    assert trial.steps(mode="train") == list(range(steps))
    for name in ("first.weight", "second.bias"):
        assert trial.tensor(f"gradient/{name}").steps(mode="train") == list(range(steps))
    assert len(trial.scalars("loss/backward", mode="train")) == steps
