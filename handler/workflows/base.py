"""The base class of a workflow, with the names of the original service."""

from typing import Any


class BaseClassicInferenceWorkflow:
    """A model behind four hooks: override the ones you need, ``do_run_model`` at least.

    Calls go ``setup() -> do_setup()`` once, then for each request
    ``inference(data) -> do_preprocessing -> do_run_model -> do_postprocessing``. Positional and
    keyword arguments come from the environment and are kept in ``args`` and ``kwargs``. To tell
    the caller that its input does not fit, raise ``handler.errors.InvalidInput`` from any hook.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = list(args)
        self.kwargs = kwargs
        self.is_setup = False

    def setup(self) -> Any:
        """Loads the model; ``is_setup`` turns true only when ``do_setup`` returns."""
        result = self.do_setup()
        self.is_setup = True
        return result

    def inference(self, input_data: Any) -> Any:
        """The answer to one request.

        Raises:
            RuntimeError: ``setup()`` has not succeeded.
        """
        if not self.is_setup:
            raise RuntimeError("setup() has not succeeded, so there is no model to ask")
        preprocessed = self.do_preprocessing(input_data)
        return self.do_postprocessing(input_data, self._run_model(preprocessed))

    def do_setup(self) -> Any:
        """Load the model here."""

    def do_preprocessing(self, input_data: Any) -> Any:
        """From a request's ``data`` to what the model takes; by default, the same."""
        return input_data

    def do_run_model(self, preprocessed_data: Any) -> Any:
        """Ask the model."""
        raise NotImplementedError(f"{type(self).__name__} does not define do_run_model")

    def do_postprocessing(self, input_data: Any, output_data: Any) -> Any:
        """From what the model gave to the answer; by default, the same."""
        return output_data

    def example_input(self) -> Any:
        """``data`` for one inference at the end of init; by default None, for no such inference.

        It takes off the first request what a library does only once. Its failure changes nothing.
        """
        return None

    # Both spellings are in use among existing workflows.
    def _run_model(self, preprocessed_data: Any) -> Any:
        run = getattr(self, "do_model_predict", self.do_run_model)
        return run(preprocessed_data)
