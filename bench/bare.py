"""A bare Starlette route that calls the same model: what the server is compared with."""

import os
from typing import Any

import torch
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

model = torch.load(os.environ["BASELINE_MODEL"], weights_only=False).eval()


def predict(data: Any) -> Any:
    with torch.inference_mode():
        return model(torch.tensor(data["values"], dtype=getattr(torch, data["dtype"]))).tolist()


async def service_output(request: Request) -> JSONResponse:
    data = (await request.json())["data"]
    return JSONResponse({"values": await run_in_threadpool(predict, data)})


app = Starlette(routes=[Route("/service_output", service_output, methods=["POST"])])
