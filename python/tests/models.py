"""Small models and loops that the tests share."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.first = nn.Linear(8, width)
        self.relu = nn.ReLU()
        self.last = nn.Linear(width, 3)

    def forward(self, x):
        return self.last(self.relu(self.first(x)))


def batch(n=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 8, generator=generator), torch.randint(0, 3, (n,), generator=generator)


def train(model, optimizer, steps=3, *, criterion=None, micro_batches=1):
    """The losses of a plain loop."""
    criterion = criterion or nn.CrossEntropyLoss()
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        for micro in range(micro_batches):
            x, y = batch(seed=step * micro_batches + micro)
            loss = criterion(model(x), y) / micro_batches
            loss.backward()
        losses.append(loss.item())
        optimizer.step()
    return losses


def l2(trial, name, step):
    return trial.tensor(name).reduction_value(step, "l2")
