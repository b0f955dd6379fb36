from typing import Any

import pytest

from handler.workflows.base import BaseClassicInferenceWorkflow


class Doubler(BaseClassicInferenceWorkflow):
    def do_preprocessing(self, input_data: Any) -> Any:
        return input_data["value"]

    def do_run_model(self, preprocessed_data: Any) -> Any:
        return preprocessed_data * 2

    def do_postprocessing(self, input_data: Any, output_data: Any) -> Any:
        return {"asked": input_data["value"], "answer": output_data}


class Predictor(BaseClassicInferenceWorkflow):
    def do_model_predict(self, preprocessed_data: Any) -> Any:
        return ["predicted", preprocessed_data]


class Broken(BaseClassicInferenceWorkflow):
    def do_setup(self) -> None:
        raise OSError("no weights")


def test_the_hooks_are_called_in_order() -> None:
    workflow = Doubler("a", b=1)
    assert (workflow.args, workflow.kwargs, workflow.is_setup) == (["a"], {"b": 1}, False)
    workflow.setup()
    assert workflow.is_setup
    assert workflow.inference({"value": 3}) == {"asked": 3, "answer": 6}


def test_the_other_spelling_of_the_model_hook_counts() -> None:
    workflow = Predictor()
    workflow.setup()
    assert workflow.inference(1) == ["predicted", 1]


def test_a_workflow_whose_setup_failed_is_not_set_up() -> None:
    workflow = Broken()
    with pytest.raises(OSError, match="no weights"):
        workflow.setup()
    assert not workflow.is_setup


def test_no_inference_before_setup() -> None:
    with pytest.raises(RuntimeError, match="setup"):
        Doubler().inference({"value": 1})


def test_a_workflow_without_a_model_hook_says_so() -> None:
    workflow = BaseClassicInferenceWorkflow()
    workflow.setup()
    with pytest.raises(NotImplementedError, match="do_run_model"):
        workflow.inference(1)
