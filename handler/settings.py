"""The environment, read once and frozen. Nothing else in the package reads ``os.environ``.

By hand, and not with pydantic: its import and the making of its models took 90 ms of every cold
start, a third of that of a compiled model.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from handler.errors import ConfigurationError
from handler.secret import PERMISSIONS, Secret, checked, tokens_in

TRUE, FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}


def _env(*names: str, read: Callable[[str], Any] = str, **default: Any) -> Any:
    """A setting: the variables that it may have, the first of which counts, and how one is read.

    ``read`` raises ValueError with what is wrong, which must not quote the value.
    """
    return field(metadata={"names": names, "read": read}, **default)


def _flag(text: str) -> bool:
    if text.lower() not in TRUE | FALSE:
        raise ValueError("expected true or false")
    return text.lower() in TRUE


def _positive(kind: type[int] | type[float], text: str) -> float:
    what = "whole number" if kind is int else "number"
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"expected a {what}") from None
    if not 0 < value < float("inf"):
        raise ValueError(f"expected a {what} greater than 0")
    return value


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return text

    return read


def _json(kind: type, what: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError:
            raise ValueError("this is not JSON") from None
        if not isinstance(value, kind):
            raise ValueError(f"expected {what} in JSON")
        return value

    return read


def _strings(text: str) -> list[str]:
    found: list[str] = _json(list, "a list of strings")(text)
    if not all(isinstance(item, str) for item in found):
        raise ValueError("expected a list of strings in JSON")
    return found


def _tokens(text: str) -> Secret:
    checked(tokens_in(text))
    return Secret(text)


def _secret_arn(text: str) -> str:
    arn, _, service, region, *_rest = f"{text}:::".split(":")
    if arn != "arn" or service not in PERMISSIONS or not region:
        raise ValueError("this is not the ARN of a Secrets Manager secret or an SSM parameter")
    return text


_count, _seconds = partial(_positive, int), partial(_positive, float)


# The memory that buys one CPU of Lambda.
CPU_MB = 1769


def default_cache_dir(mounts: Path = Path("/proc/self/mounts")) -> Path:
    """The folder of models on the EFS that is mounted, as Lambda does it, or under /tmp."""
    lines = mounts.read_text().splitlines() if mounts.exists() else []
    for _, folder, kind, *_ in map(str.split, lines):
        if kind.startswith("nfs") and folder.startswith("/mnt/"):
            return Path(folder, "models")
    return Path("/tmp/models")  # noqa: S108


def _unquote(value: str) -> str:
    """Without blanks around it and one pair of quotes, which docker's ``--env-file`` keeps."""
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1].strip()
    return value


def _environment() -> dict[str, str]:
    """The environment, without the variables that are blank once their quotes are off.

    And without the ARNs of secrets under ``sam local``, which are placeholders there.
    """
    found = {name: bare for name, value in os.environ.items() if (bare := _unquote(value))}
    if found.get("AWS_SAM_LOCAL") == "true":
        return {name: value for name, value in found.items() if not name.endswith("SECRET_ARN")}
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Runtime:
    """What the Lambda runtime sets, as opposed to an operator. Cannot be invalid."""

    runtime_api: str | None = _env("AWS_LAMBDA_RUNTIME_API", default=None)
    initialization_type: str = _env("AWS_LAMBDA_INITIALIZATION_TYPE", default="on-demand")
    aws_sam_local: str = _env("AWS_SAM_LOCAL", default="")
    function_name: str | None = _env("AWS_LAMBDA_FUNCTION_NAME", default=None)
    memory_mb: str = _env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", default="")
    # The number that libraries of linear algebra go by; ``serve`` sets it for its workers.
    omp_num_threads: str = _env("OMP_NUM_THREADS", default="")

    def problems(self) -> list[str]:
        """What does not fit together."""
        return []

    @property
    def on_lambda(self) -> bool:
        """Whether this process is a Lambda environment: one request at a time."""
        return self.runtime_api is not None

    @property
    def threads(self) -> int:
        """How many threads a model gets: no more than there are CPUs to run them.

        A Lambda environment sees more CPUs than its memory buys; a thread too many is throttled in
        the middle of its work, and the others wait for it.
        """
        if self.omp_num_threads.isdigit():
            return max(1, int(self.omp_num_threads))
        cpus = len(os.sched_getaffinity(0))
        if self.on_lambda and self.memory_mb.isdigit():
            return max(1, min(cpus, round(int(self.memory_mb) / CPU_MB)))
        return cpus

    @property
    def sam_local(self) -> bool:
        """Whether the Lambda environment is one that ``sam local`` emulates on a machine."""
        return self.aws_sam_local == "true"


@dataclass(frozen=True, kw_only=True, eq=False)
class AuthSettings(Runtime):
    """Who may ask. Also read without the others: a mistake in one of them must open no door."""

    auth: Literal["auto", "bearer", "none"] = _env(
        "INFERNET_AUTH", read=_one_of("auto", "bearer", "none"), default="auto"
    )
    bearer_tokens: Secret | None = _env("INFERNET_BEARER_TOKENS", read=_tokens, default=None)
    bearer_secret_arn: str | None = _env(
        "INFERNET_BEARER_SECRET_ARN", read=_secret_arn, default=None
    )

    def problems(self) -> list[str]:
        """What does not fit together."""
        if self.bearer_tokens and self.bearer_secret_arn:
            return ["give one of INFERNET_BEARER_TOKENS and INFERNET_BEARER_SECRET_ARN"]
        return []


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings(AuthSettings):
    """What the environment says. A blank variable counts as unset."""

    # The workflow and its arguments.
    workflow_class: str | None = _env("CLASSIC_INF_WORKFLOW_CLASS", default=None)
    workflow_args: list[Any] = _env(
        "CLASSIC_INF_WORKFLOW_POSITIONAL_ARGS", read=_json(list, "a list"), default_factory=list
    )
    workflow_kwargs: dict[str, Any] = _env(
        "CLASSIC_INF_WORKFLOW_KW_ARGS", read=_json(dict, "an object"), default_factory=dict
    )

    # The models beside the workflow's own that a request may name.
    allowed_models: list[str] = _env(
        "CLASSIC_INF_ALLOWED_MODELS", read=_strings, default_factory=list
    )
    max_models: int = _env("CLASSIC_INF_MAX_MODELS", read=_count, default=4)

    # Where models come from and where they are kept.
    hub_token: Secret | None = _env("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", read=Secret, default=None)
    hub_token_secret_arn: str | None = _env(
        "HUGGING_FACE_HUB_TOKEN_SECRET_ARN", read=_secret_arn, default=None
    )
    model_cache_dir: Path = _env("MODEL_CACHE_DIR", read=Path, default_factory=default_cache_dir)
    model_lock: Path | None = _env("CLASSIC_INF_MODEL_LOCK", read=Path, default=None)

    # Torch.
    torch_model_file_name: str = _env("TORCH_MODEL_FILE_NAME", default="model.torch")
    use_jit: bool = _env("USE_JIT", read=_flag, default=False)
    torch_safe_globals: str = _env("TORCH_SAFE_GLOBALS", default="")
    torch_allow_pickle: bool = _env("TORCH_ALLOW_PICKLE", read=_flag, default=False)

    # When the workflow is loaded.
    load: Literal["auto", "init", "lazy"] = _env(
        "INFERNET_LOAD", read=_one_of("auto", "init", "lazy"), default="auto"
    )
    init_budget_seconds: float = _env("INFERNET_INIT_BUDGET_SECONDS", read=_seconds, default=8.0)
    retry_seconds: float = _env("INFERNET_RETRY_SECONDS", read=_seconds, default=5.0)

    # Limits.
    max_elements: int = _env("INFERNET_MAX_ELEMENTS", read=_count, default=2_000_000)
    max_concurrency: int = _env("INFERNET_MAX_CONCURRENCY", read=_count, default=64)
    deadline_seconds: float = _env("INFERNET_DEADLINE_SECONDS", read=_seconds, default=170.0)
    max_body_bytes: int = _env("INFERNET_MAX_BODY_BYTES", read=_count, default=6 * 1024 * 1024)

    # What is written to the log.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _env(
        "INFERNET_LOG_LEVEL", read=_one_of("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO"
    )

    def problems(self) -> list[str]:
        """What does not fit together."""
        found = super().problems()
        if self.hub_token and self.hub_token_secret_arn:
            found.append(
                "give one of HUGGING_FACE_HUB_TOKEN (or HF_TOKEN) and "
                "HUGGING_FACE_HUB_TOKEN_SECRET_ARN"
            )
        return found


def variables(kind: type[Runtime] = Settings) -> dict[str, tuple[str, ...]]:
    """The variables of each setting that an operator makes, by the setting's name."""
    of_lambda = {setting.name for setting in fields(Runtime)}
    return {f.name: f.metadata["names"] for f in fields(kind) if f.name not in of_lambda}


Kind = TypeVar("Kind", bound=Runtime)


@cache
def get_settings() -> Settings:
    """The process's settings.

    Raises:
        ConfigurationError: a variable has a value that does not fit; the text names the variable.
    """
    return _read(Settings)


def get_auth_settings() -> AuthSettings:
    """The settings of authentication alone.

    Raises:
        ConfigurationError: one of them has a value that does not fit; the text names it.
    """
    return _read(AuthSettings)


def get_runtime() -> Runtime:
    """What the Lambda runtime says, which cannot be invalid."""
    return _read(Runtime)


def _read(kind: type[Kind]) -> Kind:
    environment, given, problems = _environment(), {}, []
    for setting in fields(kind):
        name = next((name for name in setting.metadata["names"] if name in environment), None)
        if name is None:
            continue
        try:
            given[setting.name] = setting.metadata["read"](environment[name])
        except ValueError as error:
            problems.append(f"{name}: {error}")
    settings = kind(**given)
    if problems or (problems := settings.problems()):
        raise ConfigurationError("; ".join(problems))
    return settings
