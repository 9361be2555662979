"""The model of goal 12: a small character transformer over Python source text, with real gradients."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import torch
from torch import nn

VOCABULARY, WIDTH, LAYERS, LENGTH, BATCH = 128, 64, 12, 32, 4


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.wide = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.narrow(nn.functional.gelu(self.wide(self.norm2(x))))


class CharTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.position = nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.register_buffer("mask", torch.triu(torch.full((LENGTH, LENGTH), float("-inf")), 1))

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        x = self.embedding(text) + self.position(torch.arange(LENGTH))
        for block in self.blocks:
            x = block(x, self.mask)
        return self.head(x)


def corpus() -> torch.Tensor:
    """Characters of the standard library, as indices."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = "".join(path.read_text(errors="ignore") for path in sorted(folder.glob("*.py"))[:40])
    return torch.tensor([ord(c) % VOCABULARY for c in text])


class Training:
    """One training loop; step() is one optimizer step."""

    def __init__(self, text: torch.Tensor) -> None:
        torch.manual_seed(0)
        self.text = text
        self.model = CharTransformer()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-4)
        self.generator = torch.Generator().manual_seed(0)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        starts = torch.randint(0, len(self.text) - LENGTH - 1, (BATCH,), generator=self.generator)
        rows = torch.stack([self.text[i : i + LENGTH + 1] for i in starts.tolist()])
        return rows[:, :-1], rows[:, 1:]

    def backward(self) -> None:
        inputs, targets = self.batch()
        # The gradients stay where they are, for all contestants alike: one of them looks them up only once.
        self.optimizer.zero_grad(set_to_none=False)
        nn.functional.cross_entropy(self.model(inputs).flatten(0, 1), targets.flatten()).backward()

    def step(self) -> None:
        self.backward()
        self.optimizer.step()
