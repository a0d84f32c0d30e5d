"""A ResNet-18 in plain torch: nothing is downloaded, weights are random and the same every time.

Layers as in "Deep Residual Learning for Image Recognition" (He et al., 2015), table 1, 18-layer;
64 channels in the first stage and 1000 classes give its 11 689 512 parameters.
"""

from __future__ import annotations

import torch
from torch import nn

#: Whatever the run: latency does not depend on them, and results can be compared.
_SEED = 18


class Block(nn.Module):  # type: ignore[misc]
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """A tensor with ``after`` channels, smaller by ``stride``."""
        inner = torch.relu(self.first_norm(self.first(image)))
        inner = self.second_norm(self.second(inner))
        result: torch.Tensor = torch.relu(inner + self.shortcut(image))
        return result


class ResNet18(nn.Module):  # type: ignore[misc]
    """The network; ``width`` is the number of channels in its first stage."""

    def __init__(self, width: int = 64, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        blocks: list[nn.Module] = []
        before = width
        for stage in range(4):
            after = width << stage
            blocks += [Block(before, after, 1 if stage == 0 else 2), Block(after, after, 1)]
            before = after
        self.stages = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classes = nn.Linear(before, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of the classes, a row for each image."""
        features = self.pool(self.stages(self.stem(images)))
        result: torch.Tensor = self.classes(torch.flatten(features, 1))
        return result


def network(width: int) -> ResNet18:
    """The network, ready to infer."""
    torch.manual_seed(_SEED)
    made = ResNet18(width)
    made.eval()
    return made
