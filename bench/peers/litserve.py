"""What LitServe runs: ``python -m bench.peers.litserve PORT MODEL``."""

import sys
from typing import Any

import torch
from litserve import LitAPI, LitServer


class Model(LitAPI):  # type: ignore[misc]
    """The model of the command line."""

    def setup(self, device: str) -> None:
        self.model = torch.load(sys.argv[2], weights_only=False).eval()

    def decode_request(self, request: dict[str, Any]) -> torch.Tensor:
        return torch.tensor(request["values"], dtype=torch.double)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            answer: torch.Tensor = self.model(x)
        return answer

    def encode_response(self, output: torch.Tensor) -> dict[str, Any]:
        return {"values": output.tolist()}


if __name__ == "__main__":
    server = LitServer(Model(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
