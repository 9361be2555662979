"""What watching costs a loop of very short steps, seen from outside and by the run itself.

Runs the same loop in turn without and with `wheeltapper run`, each in a process of its own, and
prints the processor time that its training thread takes per step: other work on the machine hardly
shows in it. `./dev exec python bench/short_steps.py [ROUNDS]`
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = 5000
LOOP = f"""
import time
import torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)
x, y = torch.randn(64, 20), torch.randint(0, 3, (64,))
model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loss_of = nn.CrossEntropyLoss()
def steps(count):
    begin = time.thread_time()
    for _ in range(count):
        optimizer.zero_grad()
        loss_of(model(x), y).backward()
        optimizer.step()
    return (time.thread_time() - begin) / count * 1e6
steps(1000)
print(steps({STEPS}))
"""


def step_us(command: list[str]) -> float:
    """Microseconds of the training thread per step."""
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(out.split()[-1])


def main() -> None:
    """Prints medians and extremes."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    plain: list[float] = []
    watched: list[float] = []
    seen: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "loop.py")
        script.write_text(LOOP, encoding="utf-8")
        for number in range(rounds):
            plain.append(step_us([sys.executable, str(script)]))
            run = Path(folder, f"run-{number}")
            watch = ["wheeltapper", "run", "-q", "--no-report", "--run-dir", str(run), "--"]
            watched.append(step_us([*watch, sys.executable, str(script)]))
            shown = subprocess.run(
                ["wheeltapper", "show", str(run), "--json"], check=True, capture_output=True, text=True
            ).stdout
            seen.append(json.loads(shown)["overhead"]["fraction"] * 100)
    added = [100 * (with_us / without_us - 1) for with_us, without_us in zip(watched, plain, strict=True)]
    for name, values, unit in (
        ("step without", plain, "µs"),
        ("step watched", watched, "µs"),
        ("added, seen from outside", added, "%"),
        ("overhead, seen by the run", seen, "%"),
    ):
        print(f"{name:28}{statistics.median(values):8.1f} {unit:3}({min(values):.1f} to {max(values):.1f}, {rounds})")


if __name__ == "__main__":
    main()
