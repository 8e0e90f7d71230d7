"""What a consultation has spent on the model, and when it must stop.

Prices are US dollars for a million tokens of input and of output. They are this file's defaults, dated 2026-06, and
not taken from a price list: the one figure behind them is the seed article's statement of about $0.001 a consultation
with Claude Haiku 4.5. Whoever runs the clinic checks them against the provider's own list before relying on the cost
shown or on CLINIC_COST_CEILING. A model that is not listed is counted at the dearest price listed, so that the ceiling
errs on the side of stopping early; a local model costs nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import AIMessage
from pydantic import BaseModel

_PRICES = {
    "claude-haiku-4-5": (1.0, 5.0),
    "claude-3-5-haiku": (0.8, 4.0),
    "claude-3-haiku": (0.25, 1.25),
    "claude-sonnet-4": (3.0, 15.0),
    "nova-micro": (0.035, 0.14),
    "nova-lite": (0.06, 0.24),
    "nova-pro": (0.8, 3.2),
}


class Usage(BaseModel):
    """Tokens and cost of some calls of the model."""

    model: str = ""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    price_known: bool = True

    def add(self, answer: AIMessage, model: str) -> None:
        """Count one answer of the model."""
        counted: Mapping[str, Any] = answer.usage_metadata or {}
        (price_in, price_out), known = price_of(model)
        tokens_in, tokens_out = int(counted.get("input_tokens", 0)), int(counted.get("output_tokens", 0))
        self.model = model
        self.calls += 1
        self.input_tokens += tokens_in
        self.output_tokens += tokens_out
        self.cost_usd += (tokens_in * price_in + tokens_out * price_out) / 1e6
        self.price_known = self.price_known and known


def price_of(model: str) -> tuple[tuple[float, float], bool]:
    """Return the prices of a model as CLINIC_MODEL names it, and whether they are known."""
    if not model.startswith("bedrock:"):
        return (0.0, 0.0), True
    for part, price in _PRICES.items():
        if part in model:
            return price, True
    return max(_PRICES.values()), False


def spent(messages: Iterable[Mapping[str, Any]]) -> Usage:
    """Add up what the agents of a consultation have written into its messages."""
    total = Usage()
    for message in messages:
        if isinstance(message.get("usage"), dict):
            part = Usage.model_validate(message["usage"])
            total.model = part.model or total.model
            total.calls += part.calls
            total.input_tokens += part.input_tokens
            total.output_tokens += part.output_tokens
            total.cost_usd += part.cost_usd
            total.price_known = total.price_known and part.price_known
    return total
