"""Text in, a label out: the model is torch's, the words are ours."""

import json
from pathlib import Path
from typing import Any

import torch

from handler.errors import ConfigurationError, InvalidInput
from handler.workflows.torch import TorchInferenceWorkflow


class TextClassifier(TorchInferenceWorkflow):
    """Answers ``{"text": "..."}`` with ``{"label": ..., "probabilities": {label: ...}}``.

    Args:
        vocabulary: the file with the numbers of the words and the names of the labels.
    """

    def __init__(self, *args: Any, vocabulary: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.vocabulary = Path(vocabulary)

    def do_setup(self) -> None:
        super().do_setup()
        try:
            found = json.loads(self.vocabulary.read_text())
        except OSError as error:
            raise ConfigurationError(f"vocabulary: {error.strerror}") from None
        self.words, self.labels = found["words"], found["labels"]

    def example_input(self) -> Any:
        return {"text": "bread and soup"}

    def do_preprocessing(self, input_data: Any) -> torch.Tensor:
        text = input_data.get("text")
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput("data.text: expected a text")
        return torch.tensor([[self.words.get(word, 0) for word in text.lower().split()]])

    def do_postprocessing(self, input_data: Any, output_data: torch.Tensor) -> dict[str, Any]:
        probabilities = output_data.softmax(dim=1)[0].tolist()
        named = dict(zip(self.labels, probabilities, strict=True))
        return {"label": max(named, key=named.__getitem__), "probabilities": named}
