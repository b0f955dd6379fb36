"""The environment, read once and frozen. Nothing else in the package reads ``os.environ``."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
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


def default_cache_dir(mounts: Path = Path("/proc/self/mounts")) -> Path:
    """The folder of models on the EFS that is mounted, as Lambda does it, or under /tmp."""
    lines = mounts.read_text().splitlines() if mounts.exists() else []
    for _, folder, kind, *_ in map(str.split, lines):
        if kind.startswith("nfs") and folder.startswith("/mnt/"):
            return Path(folder, "models")
    return Path("/tmp/models")  # noqa: S108


class _Environment(EnvSettingsSource):
    """The environment, without the variables that are blank once their quotes are off."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        variables = super()._load_env_vars().items()
        return {name: bare for name, value in variables if (bare := _unquote(value or ""))}


class Runtime(BaseSettings):
    """What the Lambda runtime sets, as opposed to an operator. Cannot be invalid."""

    model_config = SettingsConfigDict(frozen=True)

    runtime_api: str | None = _env("AWS_LAMBDA_RUNTIME_API", default=None)
    initialization_type: str = _env("AWS_LAMBDA_INITIALIZATION_TYPE", default="on-demand")

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


class Settings(Runtime):
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
    deadline_seconds: PositiveFloat = _env("INFERNET_DEADLINE_SECONDS", default=170.0)
    max_body_bytes: PositiveInt = _env("INFERNET_MAX_BODY_BYTES", default=6 * 1024 * 1024)


@cache
def get_settings() -> Settings:
    """The process's settings.

    Raises:
        ConfigurationError: a variable has a value that does not fit; the text names the variable.
    """
    try:
        return Settings()
    except ValidationError as invalid:
        # include_input=False: a variable may hold a secret.
        problems = (
            f"{error['loc'][0] if error['loc'] else 'environment'}: {error['msg']}"
            for error in invalid.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError("; ".join(problems)) from None
