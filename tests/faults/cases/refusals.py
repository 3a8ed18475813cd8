"""Refusals: some the next upstream can serve, some are the client's to see, exactly as they came."""

import asyncio
from typing import Any

from tests.faults.answers import always, dumps, error, good, response
from tests.faults.case import SLACK_S, Case, Expect, Stage
from tests.faults.server import Call, Script

OPENAI = error(
    "This model's maximum context length is 4096 tokens. However, your messages resulted in 5100 tokens.",
    "invalid_request_error",
    "context_length_exceeded",
)
VLLM = error(
    "This model's maximum context length is 4096 tokens. However, your request has 5100 input tokens. Please reduce "
    "the length of the input messages. (parameter=input_tokens, value=5100)",
    "BadRequestError",
    400,
)
OLD_VLLM = {
    "object": "error",
    "message": "This model's maximum context length is 4096 tokens. However, you requested 5100 tokens (5000 in the "
    "messages, 100 in the completion).",
    "type": "BadRequestError",
    "param": None,
    "code": 400,
}
LLAMA_CPP = {
    "error": {
        "code": 400,
        "message": "request (5100 tokens) exceeds the available context size (4096 tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 5100,
        "n_ctx": 4096,
    }
}
CONTENT_FILTER = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }
}
ORDINARY = error("'temperature' must be at most 2.", "invalid_request_error", "invalid_value")
MANY = 100


def _refusing(body: dict[str, Any], status: str = "400 Bad Request") -> Script:
    return always(response(body, status))


def _as_it_came(body: dict[str, Any], status: int = 400) -> Expect:
    return Expect(text=None, by="small", status=status, body=dumps(body), big=0, outcome="client_error")


def _refuses_until_asked_well(call: Call) -> Any:
    return good()(call) if call.json.get("temperature") is None else [response(ORDINARY, "400 Bad Request")]


async def _many_bad_requests(stage: Stage) -> None:
    """Bad requests are their senders' business: a hundred of them change nothing for the next good one."""
    turn = asyncio.Semaphore(10)

    async def one() -> None:
        async with turn:
            reply = await stage.ask(temperature=3)
            stage.must_be("status", reply.status, 400)
            stage.must_be("body", reply.body, dumps(ORDINARY))

    await asyncio.gather(*(one() for _ in range(MANY)))
    stage.must_be("calls that small saw", len(stage.small.calls), MANY)
    reply = await stage.ask()
    stage.caller_got = f"{MANY} times 400 as it came, then {stage.describe(reply)}"
    stage.check(reply, Expect(by="small", small=MANY + 1, big=0, within_s=(0.0, 2 * SLACK_S)))
    stage.must_end("client_error", MANY)


CASES = (
    *(
        Case(
            name=f"context-{name}",
            fault=f"context length exceeded, as {server} says it; big has a larger one",
            small=_refusing(body),
            small_config={"context_tokens": 4096},
            big_config={"context_tokens": 131_072},
            expect=Expect(why="fallback:context_length"),
        )
        for name, server, body in (
            ("openai", "OpenAI", OPENAI),
            ("vllm", "vLLM", VLLM),
            ("old-vllm", "older vLLM", OLD_VLLM),
            ("llama.cpp", "llama.cpp", LLAMA_CPP),
        )
    ),
    Case(
        name="context-no-larger",
        fault="context length exceeded; big's is no larger",
        small=_refusing(OPENAI),
        small_config={"context_tokens": 4096},
        big_config={"context_tokens": 4096},
        expect=_as_it_came(OPENAI),
    ),
    Case(
        name="context-nobody",
        fault="context length exceeded; there is no fallback",
        small=_refusing(LLAMA_CPP),
        fallback={"order": []},
        expect=_as_it_came(LLAMA_CPP),
    ),
    Case(
        name="content-filter",
        fault="400, content filter: never routed around",
        small=_refusing(CONTENT_FILTER),
        expect=_as_it_came(CONTENT_FILTER),
    ),
    Case(name="400", fault="400, the client's fault", small=_refusing(ORDINARY), expect=_as_it_came(ORDINARY)),
    Case(
        name="422",
        fault="422, the client's fault",
        small=_refusing(ORDINARY, "422 Unprocessable Entity"),
        expect=_as_it_came(ORDINARY, 422),
    ),
    Case(
        name="400-a-hundred-times",
        fault=f"{MANY} requests that get 400, then a good one",
        small=_refuses_until_asked_well,
        small_config={"breaker": {"min_requests": 5}},
        play=_many_bad_requests,
        alone=True,
    ),
)
