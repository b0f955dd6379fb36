"""What infernet-ml runs: ``hypercorn bench.peers.infernet_ml:app``.

The package has the workflow, and the types of requests and answers, but no service. This is one as
Ritual's containers have it: Quart, and the workflow in a thread of its pool.
"""

from typing import Any

from infernet_ml.services.torch import TORCH_SERVICE_PREFIX, TorchInferenceRequest
from infernet_ml.services.types import InfernetInput
from infernet_ml.workflows.inference.torch_inference_workflow import TorchInferenceWorkflow
from quart import Quart, request
from quart.utils import run_sync

app = Quart(__name__)
app.config.from_prefixed_env(prefix=TORCH_SERVICE_PREFIX)
workflow = TorchInferenceWorkflow(
    model_id=app.config["DEFAULT_MODEL_ID"], cache_dir=app.config["CACHE_DIR"]
).setup()


@app.post("/service_output")  # type: ignore[untyped-decorator]
async def service_output() -> dict[str, Any]:
    """A request from off the chain, which is answered to there."""
    wanted = TorchInferenceRequest(**InfernetInput(**await request.get_json()).data)
    result = await run_sync(workflow.inference)(wanted.workflow_input)
    answer: dict[str, Any] = result.output.model_dump()
    return answer
