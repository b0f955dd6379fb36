"""A classifier of short texts in torch, and the vocabulary that its numbers mean."""

import json
import sys
from pathlib import Path

import torch
from torch import nn

TEXTS = {
    "weather": ["it will rain today", "sunny with some clouds", "a storm and heavy rain tonight"],
    "sport": ["they won the match", "a goal in the last minute", "the team lost the final match"],
    "food": ["bread with butter", "a soup of tomatoes", "fresh bread and a warm soup"],
}
EPOCHS = 200


def train(folder: Path) -> None:
    """Writes ``model.torch`` and ``vocabulary.json`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    labels = list(TEXTS)
    words = sorted({word for texts in TEXTS.values() for text in texts for word in text.split()})
    numbers = {word: index + 1 for index, word in enumerate(words)}  # 0 is any other word
    model = nn.Sequential(nn.EmbeddingBag(len(words) + 1, 16), nn.Linear(16, len(labels)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(EPOCHS):
        for label, texts in TEXTS.items():
            for text in texts:
                rows = torch.tensor([[numbers[word] for word in text.split()]])
                loss = nn.functional.cross_entropy(model(rows), torch.tensor([labels.index(label)]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    torch.save(model.eval(), folder / "model.torch")
    vocabulary = {"words": numbers, "labels": labels}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary, indent=1))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
