"""The model factory: one setting, `CLINIC_MODEL`, chooses who answers."""

from typing import TYPE_CHECKING

import httpx

from clinic_agent.errors import ModelProblem
from clinic_agent.settings import Settings, load_settings

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_TEMPERATURE = 0.3
_ANSWER_LIMIT = 120.0
_PROFILE_PREFIXES = ("us.", "us-gov.", "eu.", "apac.", "jp.", "au.", "ca.", "global.", "arn:aws")

RULES_NOTE = "Written by the clinic's rules, a stand-in that is not a language model."


def model_note(model: str) -> str:
    """Return what a reader must know of who wrote the answers; empty for a language model."""
    return RULES_NOTE if model == "rules" else ""


def get_model(settings: Settings | None = None) -> "BaseChatModel":
    """Return the chat model that CLINIC_MODEL names.

    Raises:
        ModelProblem: the name is unknown, or cannot work as it stands.
    """
    settings = settings or load_settings()
    kind, _, name = settings.model.partition(":")
    if kind == "rules" and not name:
        from clinic_agent.rules.model import RulesModel

        return RulesModel()
    if kind == "bedrock" and name:
        return _bedrock(name, settings)
    if kind == "ollama" and name:
        return _ollama(name, settings)
    raise ModelProblem(
        f"CLINIC_MODEL={settings.model!r} is not a model: use rules, bedrock:<inference profile> or ollama:<name>."
    )


def check_model(settings: Settings) -> None:
    """Find out before a consultation is opened whether the model can be used.

    Raises:
        ModelProblem: it cannot; the message says why and what to do.
    """
    kind, _, name = settings.model.partition(":")
    if kind == "ollama" and name:
        _check_ollama(name, settings.ollama_host)
    elif kind == "bedrock" and name:
        _check_profile(name)
    else:
        get_model(settings)


def _check_profile(name: str) -> None:
    if not name.startswith(_PROFILE_PREFIXES):
        raise ModelProblem(
            f"bedrock:{name} is a bare model id, which Bedrock refuses for on-demand use: put a cross-region inference"
            f" profile's prefix before it, such as bedrock:us.{name} (or eu., apac., global.)."
        )


def _bedrock(name: str, settings: Settings) -> "BaseChatModel":
    _check_profile(name)
    from botocore.config import Config
    from langchain_aws import ChatBedrockConverse

    return ChatBedrockConverse(
        model_id=name,
        temperature=_TEMPERATURE,
        max_tokens=2000,
        region_name=settings.aws_region,
        endpoint_url=settings.bedrock_endpoint or None,
        config=Config(connect_timeout=5, read_timeout=_ANSWER_LIMIT, retries={"max_attempts": 2, "mode": "standard"}),
    )


def _ollama(name: str, settings: Settings) -> "BaseChatModel":
    from langchain_ollama import ChatOllama

    return ChatOllama(
        model=name,
        base_url=settings.ollama_host,
        temperature=_TEMPERATURE,
        client_kwargs={"timeout": httpx.Timeout(_ANSWER_LIMIT, connect=5.0)},
    )


def _check_ollama(name: str, host: str) -> None:
    try:
        response = httpx.get(f"{host.rstrip('/')}/api/tags", timeout=5.0)
        pulled = [str(entry.get("name", "")) for entry in response.raise_for_status().json().get("models", [])]
    except (httpx.HTTPError, ValueError, AttributeError):
        raise ModelProblem(
            f"Ollama cannot be reached at {host}: start it with `ollama serve`, or set CLINIC_OLLAMA_HOST."
        ) from None
    if name not in pulled and f"{name}:latest" not in pulled:
        have = f" It has {', '.join(sorted(pulled)[:5])}." if pulled else ""
        raise ModelProblem(f"Ollama at {host} has no model {name}: pull it with `ollama pull {name}`.{have}")


def explain(error: Exception, settings: Settings) -> ModelProblem:
    """Return one sentence for a failed call of the model, whichever library raised it."""
    if isinstance(error, ModelProblem):
        return error
    name = type(error).__name__
    if settings.model.startswith("ollama:"):
        if getattr(error, "status_code", None) == 404:
            pulled = settings.model.removeprefix("ollama:")
            return ModelProblem(
                f"Ollama at {settings.ollama_host} has no model {pulled}: pull it with `ollama pull {pulled}`."
            )
        return ModelProblem(f"Ollama at {settings.ollama_host} did not answer ({name}); see that it still runs.")
    if name in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "SSOTokenLoadError"):
        return ModelProblem("Bedrock needs AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
    response = getattr(error, "response", None)
    if isinstance(response, dict) and isinstance(response.get("Error"), dict):
        name = str(response["Error"].get("Code", name))
    return ModelProblem(f"The model {settings.model} did not answer ({name}); try again, or set CLINIC_MODEL=rules.")
