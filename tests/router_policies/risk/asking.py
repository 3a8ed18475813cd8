"""Requests, as facts see them."""

import json
from typing import Any

from router_policies.checks.reading import CHAT
from router_policies.risk.facts import RiskFacts


def asks(*texts: str, system: str = "", given: dict[str, Any] | None = None, **fields: Any) -> RiskFacts:
    """Facts of a chat: texts of the user and of the assistant in turn, the first the user's. `given`: facts' own."""
    messages = [{"role": "system", "content": system}] if system else []
    for at, text in enumerate(texts):
        messages.append({"role": "assistant" if at % 2 else "user", "content": text})
    body = json.dumps({"model": "m", "messages": messages, **fields}).encode()
    return RiskFacts(CHAT, body, **(given or {}))


def tool(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters or {"type": "object"}}}
