"""A model of 100 MB, of which the loading is measured."""

import torch
from torch import nn


class Large(nn.Module):
    """25 layers of a million weights each."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(1000, 1000) for _ in range(25))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x
