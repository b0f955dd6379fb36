"""A model of 100 MB, or of another size, of which the loading is measured."""

import torch
from torch import nn


class Large(nn.Module):
    """25 layers of a million weights each, or as many and as large as one asks for."""

    def __init__(self, layers: int = 25, width: int = 1000) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x
