"""Golden vectors: a request as a contract encodes it, and what the answer to it holds."""

from typing import Any

import numpy as np

from handler import onchain
from handler.tensors import Array


def on_chain_request(values: Any) -> dict[str, Any]:
    """The body with which a node passes on a contract's request.

    Args:
        values: an array, or nested lists, of the dtype that the model takes.
    """
    vector = onchain.encode_vector(onchain.vector_of(np.asarray(values)))
    return {"source": 0, "destination": 0, "data": onchain.encode_request(vector).hex()}


def on_chain_answer(answer: dict[str, Any]) -> Array:
    """The array in an answer on-chain, in its shape.

    Raises:
        AssertionError: it is none that a node could deliver.
    """
    keys = {"raw_input", "processed_input", "raw_output", "processed_output", "proof"}
    assert answer.keys() == keys, f"a node takes the five keys alone; found {', '.join(answer)}"
    return onchain.decode_vector(bytes.fromhex(answer["raw_output"])).array
