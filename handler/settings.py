"""The environment, read once and frozen. Nothing else in the package reads ``os.environ``."""

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from handler.errors import ConfigurationError
from handler.secret import PERMISSIONS, checked, tokens_in


def _env(*names: str, **constraints: Any) -> Any:
    return Field(validation_alias=AliasChoices(*names), **constraints)


def _from_json(value: Any) -> Any:
    # Not pydantic-settings' own decoding, which would run before the quotes are taken off.
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise PydanticCustomError("json", "this is not JSON") from error


def _unquote(value: str) -> str:
    """Without blanks around it and one pair of quotes, which docker's ``--env-file`` keeps."""
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1].strip()
    return value


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{text}", {"text": text})


def _tokens(value: SecretStr | None) -> SecretStr | None:
    try:
        if value is not None:
            checked(tokens_in(value.get_secret_value()))
    except ValueError as error:
        raise _problem(str(error)) from None
    return value


def _secret_arn(value: str | None) -> str | None:
    arn, _, service, region, *_rest = f"{value}:::".split(":")
    if value is not None and (arn != "arn" or service not in PERMISSIONS or not region):
        raise _problem("this is not the ARN of a Secrets Manager secret or an SSM parameter")
    return value


# The memory that buys one CPU of Lambda.
CPU_MB = 1769

SecretArn = Annotated[str | None, AfterValidator(_secret_arn)]


def default_cache_dir(mounts: Path = Path("/proc/self/mounts")) -> Path:
    """The folder of models on the EFS that is mounted, as Lambda does it, or under /tmp."""
    lines = mounts.read_text().splitlines() if mounts.exists() else []
    for _, folder, kind, *_ in map(str.split, lines):
        if kind.startswith("nfs") and folder.startswith("/mnt/"):
            return Path(folder, "models")
    return Path("/tmp/models")  # noqa: S108


class _Environment(EnvSettingsSource):
    """The environment, without the variables that are blank once their quotes are off.

    And without the ARNs of secrets under ``sam local``, which are placeholders there.
    """

    def _load_env_vars(self) -> Mapping[str, str | None]:
        variables = super()._load_env_vars().items()
        found = {name: bare for name, value in variables if (bare := _unquote(value or ""))}
        if found.get("aws_sam_local") == "true":
            return {name: value for name, value in found.items() if not name.endswith("secret_arn")}
        return found


class Runtime(BaseSettings):
    """What the Lambda runtime sets, as opposed to an operator. Cannot be invalid."""

    model_config = SettingsConfigDict(frozen=True)

    runtime_api: str | None = _env("AWS_LAMBDA_RUNTIME_API", default=None)
    initialization_type: str = _env("AWS_LAMBDA_INITIALIZATION_TYPE", default="on-demand")
    aws_sam_local: str = _env("AWS_SAM_LOCAL", default="")
    function_name: str | None = _env("AWS_LAMBDA_FUNCTION_NAME", default=None)
    memory_mb: str = _env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", default="")
    # The number that libraries of linear algebra go by; ``serve`` sets it for its workers.
    omp_num_threads: str = _env("OMP_NUM_THREADS", default="")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (_Environment(settings_cls),)

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


class AuthSettings(Runtime):
    """Who may ask. Also read without the others: a mistake in one of them must open no door."""

    auth: Literal["auto", "bearer", "none"] = _env("INFERNET_AUTH", default="auto")
    bearer_tokens: Annotated[SecretStr | None, AfterValidator(_tokens)] = _env(
        "INFERNET_BEARER_TOKENS", default=None
    )
    bearer_secret_arn: SecretArn = _env("INFERNET_BEARER_SECRET_ARN", default=None)

    @model_validator(mode="after")
    def _one_source_of_tokens(self) -> Self:
        if self.bearer_tokens and self.bearer_secret_arn:
            raise _problem("give one of INFERNET_BEARER_TOKENS and INFERNET_BEARER_SECRET_ARN")
        return self


class Settings(AuthSettings):
    """What the environment says. A blank variable counts as unset."""

    # The workflow and its arguments.
    workflow_class: str | None = _env("CLASSIC_INF_WORKFLOW_CLASS", default=None)
    workflow_args: Annotated[list[Any], NoDecode, BeforeValidator(_from_json)] = _env(
        "CLASSIC_INF_WORKFLOW_POSITIONAL_ARGS", default_factory=list
    )
    workflow_kwargs: Annotated[dict[str, Any], NoDecode, BeforeValidator(_from_json)] = _env(
        "CLASSIC_INF_WORKFLOW_KW_ARGS", default_factory=dict
    )

    # The models beside the workflow's own that a request may name.
    allowed_models: Annotated[list[str], NoDecode, BeforeValidator(_from_json)] = _env(
        "CLASSIC_INF_ALLOWED_MODELS", default_factory=list
    )
    max_models: PositiveInt = _env("CLASSIC_INF_MAX_MODELS", default=4)

    # Where models come from and where they are kept.
    hub_token: SecretStr | None = _env("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", default=None)
    hub_token_secret_arn: SecretArn = _env("HUGGING_FACE_HUB_TOKEN_SECRET_ARN", default=None)
    model_cache_dir: Path = _env("MODEL_CACHE_DIR", default_factory=default_cache_dir)
    model_lock: Path | None = _env("CLASSIC_INF_MODEL_LOCK", default=None)

    # Torch.
    torch_model_file_name: str = _env("TORCH_MODEL_FILE_NAME", default="model.torch")
    use_jit: bool = _env("USE_JIT", default=False)
    torch_safe_globals: str = _env("TORCH_SAFE_GLOBALS", default="")
    torch_allow_pickle: bool = _env("TORCH_ALLOW_PICKLE", default=False)

    # When the workflow is loaded.
    load: Literal["auto", "init", "lazy"] = _env("INFERNET_LOAD", default="auto")
    init_budget_seconds: PositiveFloat = _env("INFERNET_INIT_BUDGET_SECONDS", default=8.0)
    retry_seconds: PositiveFloat = _env("INFERNET_RETRY_SECONDS", default=5.0)

    # Limits.
    max_elements: PositiveInt = _env("INFERNET_MAX_ELEMENTS", default=2_000_000)
    max_concurrency: PositiveInt = _env("INFERNET_MAX_CONCURRENCY", default=64)
    deadline_seconds: PositiveFloat = _env("INFERNET_DEADLINE_SECONDS", default=170.0)
    max_body_bytes: PositiveInt = _env("INFERNET_MAX_BODY_BYTES", default=6 * 1024 * 1024)

    # What is written to the log.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _env(
        "INFERNET_LOG_LEVEL", default="INFO"
    )

    @model_validator(mode="after")
    def _one_source_of_the_hub_token(self) -> Self:
        if self.hub_token and self.hub_token_secret_arn:
            raise _problem(
                "give one of HUGGING_FACE_HUB_TOKEN (or HF_TOKEN) and "
                "HUGGING_FACE_HUB_TOKEN_SECRET_ARN"
            )
        return self


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


def _read(kind: type[Kind]) -> Kind:
    try:
        return kind()
    except ValidationError as invalid:
        # include_input=False: a variable may hold a secret.
        problems = (
            ": ".join([*map(str, error["loc"][:1]), error["msg"]])
            for error in invalid.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError("; ".join(problems)) from None
