"""One request to one teacher: asked within the budget, again where that helps, and told apart where it does not.

What may pass is tried again with longer and longer pauses: no connection, 408, 409, 429, 5xx, a cut or unreadable
answer, a time-out. `Retry-After` is kept to, by all requests to that endpoint. What will not pass is the prompt's
(`Refused`, any other 4xx) or the endpoint's (`Down`: 401, 403, 404, or nothing but failures), and only the latter ends
a run.

Mutable state: of a budget, what is spent and reserved; of an endpoint, when it may be asked next, and how many requests
have failed in a row.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random
from time import monotonic
from typing import Any

import httpx2
import msgspec
from msgspec import Struct

from router_policies.prices import Price, Usage, cost_nano_usd
from student_train.teachset.ask_teachers import Teacher
from student_train.teachset.example import Position
from student_train.teachset.logprobs import read_logprobs

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0  # also of what Retry-After may ask for
_FAILED_IN_A_ROW = 3  # requests, each with all its retries: the endpoint is down
_MAY_PASS = {408, 409, 425, 429}
_ENDPOINT_IS_WRONG = {401: "its key is refused", 403: "its key may not do this", 404: "there is no such path or model"}
_JSON = {"content-type": "application/json"}
_SHOWN = 160  # characters of what an endpoint says of an error


class Said(Struct, frozen=True):
    """`model`: as the endpoint calls what answered. `cost_nano_usd`: of the try that was answered."""

    content: str
    tool_calls: tuple[dict[str, Any], ...]
    finish_reason: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    positions: tuple[Position, ...]


class Refused(Exception):
    """This prompt is not answered, now or later."""


class Failed(Exception):
    """Not answered this time. The message is fit for counting."""


class Down(Exception):
    """The endpoint does not answer anybody, and why. For people."""


class OverBudget(Exception):
    """The next request could cost more than is left."""


class Budget:
    """Nano-dollars. Before a request its highest possible cost is reserved, after it the real one is settled, so that
    what is spent and reserved never exceeds `limit` (None: there is none)."""

    def __init__(self, limit: int | None, spent: int = 0) -> None:
        self.limit = limit
        self.spent = spent
        self._reserved = 0
        self._changed = asyncio.Condition()

    async def reserve(self, most: int) -> None:
        """Waits while requests under way may turn out cheaper. Raises `OverBudget` when that cannot help."""
        async with self._changed:
            while self.limit is not None and most and self.spent + self._reserved + most > self.limit:
                if not self._reserved:
                    raise OverBudget
                await self._changed.wait()
            self._reserved += most

    async def settle(self, most: int, cost: int) -> None:
        async with self._changed:
            self._reserved -= most
            self.spent += cost
            self._changed.notify_all()


class Endpoint:
    """A teacher that can be asked, until it is closed."""

    def __init__(self, name: str, teacher: Teacher, budget: Budget) -> None:
        self.name = name
        self.teacher = teacher
        self.model = teacher.model or ""
        self.logprobs = teacher.top_logprobs > 0
        self.note = ""
        self._budget = budget
        self._price: Price = teacher.price.priced()
        self._addition = teacher.addition()
        self._next_at = 0.0
        self._failed_in_a_row = 0
        key = teacher.key()
        self._client = httpx2.AsyncClient(
            base_url=teacher.base_url.rstrip("/"),
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(teacher.timeout_s, connect=min(10.0, teacher.timeout_s)),
            limits=httpx2.Limits(max_connections=teacher.concurrency, max_keepalive_connections=teacher.concurrency),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def find_model(self) -> None:
        """Whether anybody is there, and which model is asked. Raises `Down`."""
        try:
            async with asyncio.timeout(30):
                listed = await self._client.get("/models")
        except (httpx2.HTTPError, TimeoutError) as error:
            raise Down(self._says(f"does not answer ({_told(error)}): start it, or correct its base_url")) from None
        if listed.status_code in (401, 403):
            raise Down(self._says(f"answers {listed.status_code}: {_ENDPOINT_IS_WRONG[listed.status_code]}"))
        if self.model:
            return
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
            self.model = str(listed.json()["data"][0]["id"])
        if not self.model:
            raise Down(self._says("lists no model at /models: say which one to ask, `model`"))

    async def ask(self, prompt: dict[str, Any], seed: int, input_tokens: int | None = None) -> Said:
        """`prompt`: messages, tools, response_format. `input_tokens`: how many it is, where that is known. Raises
        `Refused`, `Failed`, `Down`, `OverBudget`."""
        pauses = _pauses(Random(seed), self.teacher.retries)  # noqa: S311 - no secret
        while True:
            body = self._body(prompt, seed)
            try:
                said = await self._once(body, input_tokens)
            except _Again as again:
                pause = 0.0 if again.at_once else next(pauses, None)
                if pause is None:
                    self._failed_in_a_row += 1
                    if self._failed_in_a_row >= _FAILED_IN_A_ROW:
                        raise Down(self._says(f"failed {_FAILED_IN_A_ROW} requests in a row, {again.kind}")) from None
                    raise Failed(again.kind) from None
                if again.wait_s is not None:
                    self._next_at = max(self._next_at, monotonic() + again.wait_s)
                await asyncio.sleep(pause)
            else:
                self._failed_in_a_row = 0
                return said

    def _says(self, what: str) -> str:
        return f"teacher {self.name} at {self.teacher.base_url} {what}"

    def _body(self, prompt: dict[str, Any], seed: int) -> dict[str, Any]:
        teacher = self.teacher
        body = {
            "model": self.model,
            **prompt,
            "messages": _with_system(prompt["messages"], self._addition),
            "temperature": teacher.temperature,
            "top_p": teacher.top_p,
            teacher.limit_field: teacher.max_tokens,
            "seed": seed,
        }
        if self.logprobs:
            body |= {"logprobs": True, "top_logprobs": teacher.top_logprobs}
        return body | teacher.body

    async def _once(self, body: dict[str, Any], input_tokens: int | None) -> Said:
        most = self._most(body, input_tokens)
        await self._budget.reserve(most)
        cost = most  # what a try that was sent and not answered may have cost
        try:
            await self._turn()
            content = msgspec.json.encode(body)
            try:
                async with asyncio.timeout(self.teacher.timeout_s):
                    answer = await self._client.post("/chat/completions", content=content, headers=_JSON)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
                cost = 0
                raise _Again("no connection: " + type(error).__name__) from None
            except (TimeoutError, httpx2.TimeoutException):
                raise _Again("timeout") from None
            except httpx2.HTTPError as error:
                raise _Again("cut: " + type(error).__name__) from None
            if answer.status_code != 200:
                cost = 0
                self._refuse(answer, "logprobs" in body)
            said = self._read(answer, most)
            cost = said.cost_nano_usd
            return said
        finally:
            await self._budget.settle(most, cost)

    def _most(self, body: dict[str, Any], input_tokens: int | None) -> int:
        """The highest cost of a request. A token is at least one byte of the prompt, or one that the chat template
        adds: some tens a message."""
        if input_tokens is None:
            prompt = json.dumps([body["messages"], body.get("tools")], ensure_ascii=False)
            input_tokens = len(prompt.encode()) + 64 * len(body["messages"]) + 512
        return cost_nano_usd(self._price, Usage(input_tokens, self.teacher.max_tokens))

    async def _turn(self) -> None:
        """Waits until this endpoint may be asked. Turns are given in the order of asking."""
        at = max(monotonic(), self._next_at)
        if self.teacher.requests_per_s is not None:
            self._next_at = at + 1 / self.teacher.requests_per_s
        await asyncio.sleep(at - monotonic())

    def _refuse(self, answer: httpx2.Response, logprobs: bool) -> None:
        status, told = answer.status_code, _error_text(answer)
        if status in _MAY_PASS or status >= 500:
            raise _Again(f"HTTP {status}", wait_s=_retry_after(answer))
        if logprobs and "logprob" in told.lower():
            self.logprobs = False
            self.note = f"no log-probabilities: HTTP {status}: {told}"
            raise _Again("logprobs", at_once=True)
        if status in _ENDPOINT_IS_WRONG:
            raise Down(self._says(f"answers {status}, {_ENDPOINT_IS_WRONG[status]}: {told}"))
        raise Refused(f"HTTP {status}: {told}")

    def _read(self, answer: httpx2.Response, most: int) -> Said:
        try:
            whole = msgspec.json.decode(answer.content)
            choice = whole["choices"][0]
            message = choice["message"]
            content, calls = message.get("content"), message.get("tool_calls") or ()
            usage = whole.get("usage") or {}
            tokens = Usage(int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0)))
        except (msgspec.DecodeError, ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise _Again("unreadable answer") from None
        return Said(
            content=_text(content),
            tool_calls=tuple(call for call in calls if isinstance(call, dict)),
            finish_reason=str(choice.get("finish_reason") or ""),
            model=str(whole.get("model") or self.model),
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cost_nano_usd=cost_nano_usd(self._price, tokens) if usage else most,
            positions=read_logprobs(choice) if self.logprobs else (),
        )


class _Again(Exception):
    def __init__(self, kind: str, wait_s: float | None = None, at_once: bool = False) -> None:
        self.kind = kind
        self.wait_s = wait_s
        self.at_once = at_once


def _pauses(random: Random, retries: int) -> Iterator[float]:
    """Each up to twice as long as the one before, drawn so that those who failed together do not come back together."""
    for at in range(retries):
        yield min(FIRST_PAUSE_S * 2**at, LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)


def _retry_after(answer: httpx2.Response) -> float | None:
    """RFC 9110, 10.2.3: seconds, or a date."""
    given = answer.headers.get("retry-after")
    if given is None:
        return None
    with contextlib.suppress(ValueError, TypeError):
        if given.strip().isdigit():
            return min(float(given), LONGEST_PAUSE_S)
        until = parsedate_to_datetime(given)
        return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), LONGEST_PAUSE_S)
    return None


def _error_text(answer: httpx2.Response) -> str:
    """What the endpoint says of it, on one line."""
    text = answer.text
    with contextlib.suppress(ValueError, AttributeError):
        error = answer.json().get("error")
        text = str(error.get("message") if isinstance(error, dict) else error or text)
    return " ".join(text.split())[:_SHOWN]


def _told(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _with_system(messages: list[dict[str, Any]], addition: str) -> list[dict[str, Any]]:
    if not addition:
        return messages
    first = messages[0] if messages else {}
    if first.get("role") in ("system", "developer") and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{addition}"}, *messages[1:]]
    return [{"role": "system", "content": addition}, *messages]
