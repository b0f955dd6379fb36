"""What MLServer runs: a runtime of the V2 inference protocol, named by its model-settings.json."""

import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Model(MLModel):  # type: ignore[misc]
    """The model at the URI of the settings."""

    async def load(self) -> bool:
        self.model = torch.load(self.settings.parameters.uri, weights_only=False).eval()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        values = torch.from_numpy(NumpyCodec.decode_input(payload.inputs[0]))
        with torch.inference_mode():
            answer = self.model(values).numpy()
        output = NumpyCodec.encode_output("output", answer)
        return InferenceResponse(model_name=self.name, outputs=[output])
