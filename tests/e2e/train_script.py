"""A small training loop for the end-to-end tests: prints, logs, and can be made to misbehave."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--nan-at", type=int, default=-1)
parser.add_argument("--exit-code", type=int, default=0)
parser.add_argument("--raise-at", type=int, default=-1)
parser.add_argument("--pause", type=float, default=0.0)
parser.add_argument("--ready", type=Path, help="touched after the third step")
parser.add_argument("--until", type=Path, help="goes on for longer until this exists")
args = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
inputs = torch.randn(64, 8)
targets = inputs.sum(1, keepdim=True)
criterion = nn.MSELoss()
print("started", flush=True)
print("a line on stderr", file=sys.stderr, flush=True)
for step in itertools.count():
    if step >= args.steps and (args.until is None or args.until.exists()):
        break
    if step == args.raise_at:
        raise ValueError("the script's own error")
    optimizer.zero_grad()
    loss = criterion(model(inputs), targets)
    if step == args.nan_at:
        loss = loss * float("nan")
    loss.backward()
    optimizer.step()
    print(f"{step} {loss.item()!r}")
    if step == 2 and args.ready:
        args.ready.touch()
    if args.pause:
        time.sleep(args.pause)
print(f"pid {os.getpid() > 0}")
sys.exit(args.exit_code)
