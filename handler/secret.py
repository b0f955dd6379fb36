"""Secrets: what their texts hold, and how they are read from AWS. None is logged or quoted."""

import json
from typing import Any

from handler.errors import SecretError

# By the service that an ARN names: the permission that reading takes.
PERMISSIONS = {"secretsmanager": "secretsmanager:GetSecretValue", "ssm": "ssm:GetParameter"}
MIN_CHARACTERS = 16
# A dead endpoint must not hold a request for longer than two tries of these.
CONNECT_SECONDS, READ_SECONDS, TRIES = 2, 3, 2


class Secret:
    """A text that no representation shows."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret('**********')"


def tokens_in(text: str) -> list[str]:
    """The tokens in a text: separated by commas, a JSON list, or ``{"tokens": [...]}``.

    Raises:
        ValueError: there is none.
    """
    value = _json(text)
    found = value.get("tokens") if isinstance(value, dict) else value
    if isinstance(found, str):
        found = found.split(",")
    if isinstance(found, list) and all(isinstance(token, str) for token in found):
        tokens = [bare for token in found if (bare := token.strip())]
        if tokens:
            return tokens
    raise ValueError('there is no token in it: expected a string, a list, or {"tokens": [...]}')


def checked(tokens: list[str]) -> list[str]:
    """The tokens, all long enough to be no guess, and such as a header can carry.

    Raises:
        ValueError: one of them is not; does not say what it is.
    """
    for token in tokens:
        if len(token) < MIN_CHARACTERS:
            raise ValueError(f"a token has fewer than {MIN_CHARACTERS} characters")
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("a token has characters that a header does not carry")
    return tokens


def read_tokens(arn: str) -> list[str]:
    """The bearer tokens in a secret.

    Raises:
        SecretError: they cannot be had; says what to change.
    """
    variable = "INFERNET_BEARER_SECRET_ARN"
    try:
        return checked(tokens_in(read(arn, variable)))
    except ValueError as error:
        raise SecretError(f"{variable}: the secret does not fit: {error}") from None


def hub_token(direct: Secret | None, arn: str | None) -> str | None:
    """The token for the Hugging Face hub, from the environment or from the secret that it names.

    Raises:
        SecretError: it cannot be had; says what to change.
    """
    if direct is not None:
        return direct.get_secret_value()
    if arn is None:
        return None
    variable = "HUGGING_FACE_HUB_TOKEN_SECRET_ARN"
    value = _json(read(arn, variable))
    token = value.get("token") if isinstance(value, dict) else value
    if isinstance(token, str) and token.strip():
        return token.strip()
    raise SecretError(
        f'{variable}: the secret does not fit: expected the token itself, or {{"token": ...}}'
    )


def read(arn: str, variable: str) -> str:
    """The text of a Secrets Manager secret or an SSM parameter, from the region in its ARN.

    Raises:
        SecretError: it cannot be had; names the variable that gave the ARN, and what to change.
    """
    # Up to 400 ms of imports that only who keeps a secret there has to pay.
    from boto3.session import Session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    service, region = arn.split(":")[2:4]
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": TRIES},
    )
    try:
        # A session of its own: boto3's default one is not made for several threads.
        client = Session().client(service, region_name=region, config=config)
        if service == "ssm":
            found = client.get_parameter(Name=arn, WithDecryption=True)["Parameter"]["Value"]
        else:
            found = client.get_secret_value(SecretId=arn).get("SecretString")
    except (BotoCoreError, ClientError) as error:
        raise SecretError(f"{variable}: {_problem(error, service)}") from None
    if not isinstance(found, str):
        raise SecretError(f"{variable}: the secret does not fit: it is binary, not a string")
    return found


def _problem(error: Exception, service: str) -> str:
    """What went wrong at AWS, and what to change; never AWS's own words, which name the account."""
    code = (getattr(error, "response", None) or {}).get("Error", {}).get("Code", "")
    if "AccessDenied" in code:
        return (
            f"access denied: the function's role needs {PERMISSIONS[service]} on it, and "
            "kms:Decrypt when a key of your own encrypts it"
        )
    if "NotFound" in code:
        return "there is no such secret in the region that the ARN names"
    if "Throttl" in code or code == "TooManyRequestsException":
        return "AWS throttles its readers; it is asked again soon"
    if code:
        return f"AWS answered {code}"
    kind = type(error).__name__
    if "Credentials" in kind:
        return "there are no AWS credentials to read it with"
    if "Connect" in kind or "Timeout" in kind:
        return f"no answer: a VPC without NAT needs the interface endpoint of {service}"
    return f"reading it failed with {kind}"


def _json(text: str) -> Any:
    """The object, list or string that a text holds as JSON; otherwise the text itself.

    A token of digits only is JSON as well, but meant as it stands.
    """
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list | str) else text
