"""Trains the bundled demo model and prints its accuracy: ``python -m handler.demo.train``.

The data are the 150 irises that scikit-learn ships: sepal length and width, petal length and
width, in centimetres. A third of them, never trained on, measures the accuracy. The model takes the
raw measurements, shape [n, 4], and answers the probabilities of setosa, versicolor and virginica,
shape [n, 3].
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).parent
SPECIES = ("setosa", "versicolor", "virginica")


def split() -> tuple[Any, Any, Any, Any]:
    """Training and test measurements, training and test species, always the same ones."""
    data = load_iris()
    split: list[Any] = train_test_split(
        torch.from_numpy(data.data),
        torch.from_numpy(data.target),
        test_size=1 / 3,
        random_state=0,
        stratify=data.target,
    )
    return split[0], split[1], split[2], split[3]


def accuracy(model: nn.Module, measurements: torch.Tensor, species: torch.Tensor) -> float:
    """The share of irises whose most probable species is the right one."""
    with torch.inference_mode():
        return float((model(measurements).argmax(1) == species).double().mean())


def train() -> nn.Module:
    """A network of 131 weights; the scaling of the measurements is folded into its first layer."""
    torch.manual_seed(0)
    measurements, _, species, _ = split()
    mean, deviation = measurements.mean(0), measurements.std(0)
    network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3), nn.Softmax(1)).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=1e-3)
    for _ in range(400):
        optimizer.zero_grad()
        probabilities = network((measurements - mean) / deviation)
        loss: Any = nn.functional.nll_loss(probabilities.log(), species)
        loss.backward()
        optimizer.step()
    first: Any = network[0]
    with torch.no_grad():
        first.weight /= deviation
        first.bias -= first.weight @ mean
    return network.eval()


def main() -> None:
    """Writes the model and a sample request beside this script."""
    model = train()
    torch.save(model, HERE / "model.torch")
    _, measurements, _, species = split()
    sample = np.stack([measurements[species == kind][0].numpy() for kind in range(3)])
    request = {"source": 1, "data": {"dtype": "double", "values": sample.tolist()}}
    (HERE / "request.json").write_text(json.dumps(request) + "\n")
    size = (HERE / "model.torch").stat().st_size
    print(
        f"{size} bytes, {accuracy(model, measurements, species):.1%} of {len(species)} test irises"
    )


if __name__ == "__main__":
    main()
