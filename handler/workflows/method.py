"""What scikit-learn, XGBoost and LightGBM have in common: which of three questions is asked."""

from typing import Any

from handler.errors import ConfigurationError
from handler.workflows.model import ModelWorkflow

METHODS = ("predict", "predict_proba", "decision_function")


class MethodWorkflow(ModelWorkflow):
    """A workflow that answers what the model's ``method`` gives, in scikit-learn's terms.

    Args:
        method: "predict" (classes or values), "predict_proba" (shape [rows, classes]) or
            "decision_function" (raw scores).

    Raises:
        ConfigurationError: there is no such method.
    """

    def __init__(self, *args: Any, method: str = METHODS[0], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if method not in METHODS:
            raise ConfigurationError(f"method {method!r}: known are {', '.join(METHODS)}")
        self.method = method
