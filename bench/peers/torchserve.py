"""What TorchServe runs: the handler that its archive is made with."""

import os
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler


class Model(BaseHandler):  # type: ignore[misc]
    """The model that PEER_MODEL names; a batch has a row of each request."""

    def initialize(self, context: Any) -> None:
        self.model = torch.load(os.environ["PEER_MODEL"], weights_only=False).eval()
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        rows = [row for request in data for row in request["body"]["values"]]
        with torch.inference_mode():
            answers: list[Any] = self.model(torch.tensor(rows, dtype=torch.double)).tolist()
        return answers
