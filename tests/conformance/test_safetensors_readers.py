"""Hugging Face's safetensors opens what our header builder makes, pads and all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors")


@pytest.mark.parametrize("file", ["padded", "dense"])
def test_safe_open_finds_every_tensor_bit_for_bit(samples: Path, file: str) -> None:
    path = samples / f"{file}.safetensors"
    raw = path.read_bytes()
    with safetensors.safe_open(path, "pt") as opened:
        assert opened.metadata() == {"run": "ä"}
        names = [name for name in opened.keys() if not name.startswith("__pad__/")]  # noqa: SIM118
        expected = json.loads((samples / f"{file}.safetensors.json").read_text())
        assert sorted(names) == sorted(entry["name"] for entry in expected)
        for entry in expected:
            tensor = opened.get_tensor(entry["name"])
            if entry["dtype"] == "complex128":  # stored as pairs: safetensors has no such type
                tensor = torch.view_as_complex(tensor)
            assert tensor.dtype == getattr(torch, entry["dtype"])
            assert list(tensor.shape) == entry["shape"]
            stored = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            assert stored == raw[entry["begin"] : entry["end"]], entry["name"]


def test_gaps_are_pads(samples: Path) -> None:
    with safetensors.safe_open(samples / "padded.safetensors", "pt") as opened:
        assert sum(name.startswith("__pad__/") for name in opened.keys()) > 10  # noqa: SIM118
    with safetensors.safe_open(samples / "dense.safetensors", "pt") as opened:
        assert not any(name.startswith("__pad__/") for name in opened.keys())  # noqa: SIM118
