"""Trains a small convolutional network on scikit-learn's handwritten digits.

An ordinary PyTorch script: nothing in it knows of Wheeltapper. Two switches break it on purpose.

    wheeltapper run -- python train.py                  # healthy
    wheeltapper run --stop-on error -- python train.py --lr 40    # diverges
    wheeltapper run -- python train.py --dead-layer     # a layer that never fires
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class DigitsNet(nn.Module):
    """Two convolutions and a linear classifier for 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(32 * 4 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.relu1(self.conv1(images))
        hidden = self.pool(self.relu2(self.conv2(hidden)))
        return self.classifier(hidden.flatten(1))


def load_data(batch_size: int) -> tuple[DataLoader, DataLoader]:
    """The 1,797 digits as a training and a validation loader; pixels scaled to [0, 1]."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0
    labels = torch.tensor(digits.target)
    train_x, valid_x, train_y, valid_y = train_test_split(
        images, labels, test_size=0.2, random_state=0, stratify=labels
    )
    train = DataLoader(TensorDataset(train_x, train_y), batch_size=batch_size, shuffle=True)
    return train, DataLoader(TensorDataset(valid_x, valid_y), batch_size=256)


def kill_layer(layer: nn.Conv2d) -> None:
    """A bias so negative that the ReLU behind the layer never fires: no signal, no gradient."""
    with torch.no_grad():
        layer.bias.fill_(-100.0)


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """Mean loss and accuracy over a loader."""
    model.eval()
    loss_sum, correct, count = 0.0, 0, 0
    for images, labels in loader:
        logits = model(images)
        loss_sum += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        correct += int((logits.argmax(1) == labels).sum())
        count += len(labels)
    model.train()
    return loss_sum / count, correct / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate of SGD with momentum 0.9")
    parser.add_argument("--dead-layer", action="store_true", help="start with a layer that never fires")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    train, valid = load_data(args.batch_size)
    model = DigitsNet()
    if args.dead_layer:
        kill_layer(model.conv2)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    for epoch in range(args.epochs):
        for images, labels in train:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        valid_loss, accuracy = evaluate(model, valid)
        print(f"epoch {epoch}: validation loss {valid_loss:.4f}, accuracy {accuracy:.3f}", flush=True)


if __name__ == "__main__":
    main()
