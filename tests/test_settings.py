from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from handler.settings import Settings, default_cache_dir, get_runtime

Read = Callable[..., Settings]
LAMBDA = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}


def test_defaults(settings_of: Read) -> None:
    settings = settings_of()
    assert settings.workflow_class is None
    assert settings.workflow_args == [] and settings.workflow_kwargs == {}
    assert settings.torch_model_file_name == "model.torch"
    assert settings.use_jit is False and settings.torch_allow_pickle is False
    assert settings.max_body_bytes == 6_291_456
    assert (settings.load, settings.init_budget_seconds, settings.retry_seconds) == ("auto", 8, 5)
    assert settings.on_lambda is False and settings.initialization_type == "on-demand"


@pytest.mark.parametrize("blank", ["", "   ", "''", '""', "' '"])
def test_blank_is_unset(settings_of: Read, blank: str) -> None:
    settings = settings_of(
        CLASSIC_INF_WORKFLOW_CLASS=blank,
        CLASSIC_INF_WORKFLOW_KW_ARGS=blank,
        HUGGING_FACE_HUB_TOKEN=blank,
        USE_JIT=blank,
    )
    assert settings.workflow_class is None
    assert settings.workflow_kwargs == {} and settings.hub_token is None
    assert settings.use_jit is False


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_one_pair_of_quotes_is_taken_off(settings_of: Read, quote: str) -> None:
    settings = settings_of(
        CLASSIC_INF_WORKFLOW_CLASS=f"{quote}my.Workflow{quote}",
        CLASSIC_INF_WORKFLOW_POSITIONAL_ARGS=f'{quote}["a", 1]{quote}',
        CLASSIC_INF_WORKFLOW_KW_ARGS=f'{quote}{{"model": "x"}}{quote}',
        USE_JIT=f"{quote}True{quote}",
        MODEL_CACHE_DIR=f"{quote}/mnt/models{quote}",
    )
    assert settings.workflow_class == "my.Workflow"
    assert settings.workflow_args == ["a", 1] and settings.workflow_kwargs == {"model": "x"}
    assert settings.use_jit is True and settings.model_cache_dir == Path("/mnt/models")


def test_hf_token_outranks_the_historic_name(settings_of: Read) -> None:
    token = settings_of(HUGGING_FACE_HUB_TOKEN="historic").hub_token
    assert token is not None and token.get_secret_value() == "historic"
    token = settings_of(HF_TOKEN="current").hub_token
    assert token is not None and token.get_secret_value() == "current"
    token = settings_of(HF_TOKEN="''").hub_token
    assert token is not None and token.get_secret_value() == "historic", "blank means unset"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLASSIC_INF_WORKFLOW_POSITIONAL_ARGS", "{}"),
        ("CLASSIC_INF_WORKFLOW_POSITIONAL_ARGS", "[unquoted]"),
        ("CLASSIC_INF_WORKFLOW_KW_ARGS", "[]"),
        ("CLASSIC_INF_WORKFLOW_KW_ARGS", "{'single': 'quotes'}"),
        ("USE_JIT", "perhaps"),
        ("INFERNET_LOAD", "sometimes"),
        ("INFERNET_RETRY_SECONDS", "soon"),
        ("INFERNET_MAX_BODY_BYTES", "-1"),
        ("INFERNET_MAX_ELEMENTS", "-7"),
        ("INFERNET_MAX_CONCURRENCY", "many"),
        ("INFERNET_AUTH", "sometimes"),
        ("INFERNET_BEARER_TOKENS", "too-short"),
        ("INFERNET_BEARER_TOKENS", "a-token-of-the-tests,too-short"),
        ("INFERNET_BEARER_TOKENS", "a-token with-a-blank"),
        ("INFERNET_BEARER_TOKENS", ", ,"),
        ("INFERNET_BEARER_SECRET_ARN", "my-secret"),
        ("INFERNET_BEARER_SECRET_ARN", "arn:aws:s3:eu-west-1:1:bucket"),
        ("INFERNET_BEARER_SECRET_ARN", "arn:aws:secretsmanager::1:secret:x"),
        ("HUGGING_FACE_HUB_TOKEN_SECRET_ARN", "my-secret"),
    ],
)
def test_a_bad_value_names_its_variable_and_is_not_quoted(
    settings_of: Read, name: str, value: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        settings_of(**{name: value, "HF_TOKEN": "hf_secret_token"})
    assert name in raised.value.description
    assert value not in raised.value.description
    assert "hf_secret_token" not in raised.value.description


def test_the_token_is_not_in_the_representation(settings_of: Read) -> None:
    assert "hf_secret_token" not in repr(settings_of(HF_TOKEN="hf_secret_token"))


def test_the_bearer_tokens_are_not_in_the_representation(settings_of: Read) -> None:
    settings = settings_of(INFERNET_BEARER_TOKENS="a-token-of-the-tests")
    for text in (repr(settings), str(settings), f"{asdict(settings)}"):
        assert "a-token-of-the-tests" not in text


@pytest.mark.parametrize(
    ("direct", "arn"),
    [
        ("INFERNET_BEARER_TOKENS", "INFERNET_BEARER_SECRET_ARN"),
        ("HUGGING_FACE_HUB_TOKEN", "HUGGING_FACE_HUB_TOKEN_SECRET_ARN"),
        ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN_SECRET_ARN"),
    ],
)
def test_a_token_has_one_source(settings_of: Read, direct: str, arn: str) -> None:
    value = "arn:aws:ssm:eu-west-1:1:parameter/p"
    with pytest.raises(ConfigurationError) as raised:
        settings_of(**{direct: "a-token-of-the-tests", arn: value})
    assert direct in raised.value.description and arn in raised.value.description
    assert "a-token-of-the-tests" not in raised.value.description


def test_the_placeholders_of_sam_local_are_no_arns(settings_of: Read) -> None:
    names = ("INFERNET_BEARER_SECRET_ARN", "HUGGING_FACE_HUB_TOKEN_SECRET_ARN")
    settings = settings_of(AWS_SAM_LOCAL="true", **dict.fromkeys(names, "BearerSecret"))
    assert settings.bearer_secret_arn is None and settings.hub_token_secret_arn is None
    assert settings.sam_local


def test_frozen(settings_of: Read) -> None:
    with pytest.raises(FrozenInstanceError):
        settings_of().use_jit = True  # type: ignore[misc]


def test_the_runtime_is_known_even_when_a_setting_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    monkeypatch.setenv("USE_JIT", "perhaps")
    assert get_runtime().on_lambda and get_runtime().initialization_type == "snap-start"


@pytest.mark.parametrize(
    ("mounts", "folder"),
    [
        ("", "/tmp/models"),
        ("overlay / overlay ro 0 0\ntmpfs /mnt/x tmpfs rw 0 0", "/tmp/models"),
        ("overlay / overlay ro 0 0\n127.0.0.1:/ /mnt/efs nfs4 rw,vers=4.1 0 0", "/mnt/efs/models"),
        ("server:/home /home nfs rw 0 0", "/tmp/models"),
    ],
)
def test_models_are_kept_on_the_mounted_efs(tmp_path: Path, mounts: str, folder: str) -> None:
    (tmp_path / "mounts").write_text(mounts)
    assert default_cache_dir(tmp_path / "mounts") == Path(folder)
    assert default_cache_dir(tmp_path / "none") == Path("/tmp/models")


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, 8),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 8),
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769"}, 8),
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", **LAMBDA}, 1),
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769", **LAMBDA}, 1),
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3538", **LAMBDA}, 2),
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "10240", **LAMBDA}, 6),
        ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "", **LAMBDA}, 8),
    ],
)
def test_threads_are_no_more_than_the_cpus_to_run_them(
    settings_of: Read, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], threads: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert settings_of(**environment).threads == threads
