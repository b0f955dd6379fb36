"""The same by hand for a compiled model: ten lines with onnxruntime."""

import json
import os
from typing import Any

import numpy as np
import onnxruntime

model = onnxruntime.InferenceSession(os.environ["BASELINE_ONNX"])


def handler(event: Any, context: Any) -> Any:
    data = json.loads(event["body"])["data"]
    (output,) = model.run(None, {"input": np.array(data["values"], dtype=data["dtype"])})
    return {"statusCode": 200, "body": json.dumps({"values": output.tolist()})}
