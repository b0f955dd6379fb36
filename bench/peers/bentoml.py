"""What BentoML runs: ``bentoml serve bench.peers.bentoml:Model``."""

import os

import bentoml
import torch


@bentoml.service(workers=1)
class Model:
    """The model that PEER_MODEL names."""

    def __init__(self) -> None:
        self.model = torch.load(os.environ["PEER_MODEL"], weights_only=False).eval()

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, values: list[list[float]]) -> list[list[float]]:
        with torch.inference_mode():
            answer: list[list[float]] = self.model(
                torch.tensor(values, dtype=torch.double)
            ).tolist()
        return answer
