"""The official client, sync and async, against a real gateway process."""

import json
import time
from collections.abc import Iterable

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.conftest import StartGateway
from tests.support.configs import NO_FALLBACK, two_upstreams
from tests.support.processes import GatewayProcess, free_port
from tests.support.upstream import (
    CLOSE,
    DONE,
    STREAM_END,
    STREAM_HEAD,
    Received,
    ScriptedUpstream,
    Step,
    chunk,
    chunked,
    completion,
    event,
    response,
)

MESSAGES = [{"role": "user", "content": "hello"}]


def client(gateway: GatewayProcess, key: str = "unused") -> OpenAI:
    return OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=10)


def test_a_whole_answer(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    raw = client(to_student).chat.completions.with_raw_response.create(
        model="support-chat", messages=MESSAGES, extra_headers={"x-request-id": "my-id"}
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "I am small"
    assert answer.model == "student-model"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert raw.headers["x-understudy-upstream"] == "small"
    assert raw.headers["x-understudy-reason"] == "split"
    assert raw.headers["x-request-id"] == "my-id"
    assert student.requests[0].headers["x-request-id"] == "my-id"


def test_a_stream(to_teacher: GatewayProcess, teacher: ScriptedUpstream) -> None:
    chunks = list(client(to_teacher).chat.completions.create(model="support-chat", messages=MESSAGES, stream=True))
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "I am big"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(one.usage is None for one in chunks), "usage was not asked for"
    assert teacher.requests[0].json["stream_options"] == {"include_usage": True}
    assert teacher.requests[0].headers["authorization"] == "Bearer teacher-secret"


def test_a_stream_with_usage(to_student: GatewayProcess) -> None:
    stream = client(to_student).chat.completions.create(
        model="support-chat", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.prompt_tokens == 11


async def test_the_async_client(to_student: GatewayProcess) -> None:
    async with AsyncOpenAI(base_url=f"{to_student.url}/v1", api_key="x", max_retries=0) as api:
        answer = await api.chat.completions.create(model="support-chat", messages=MESSAGES)  # type: ignore[arg-type]
        assert answer.choices[0].message.content == "I am small"
        stream = await api.chat.completions.create(model="support-chat", messages=MESSAGES, stream=True)  # type: ignore[arg-type]
        assert "".join([one.choices[0].delta.content or "" async for one in stream]) == "I am small"


TOOLS = [
    {
        "type": "function",
        "function": {"name": "refund", "parameters": {"type": "object", "properties": {"model": {"type": "string"}}}},
    }
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "refund", "arguments": '{"model":"x"}'}}


def test_tools(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    student.script = lambda request: [response(completion("", tool_calls=[CALL]))]
    answer = client(to_student).chat.completions.create(model="support-chat", messages=MESSAGES, tools=TOOLS)
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.arguments == '{"model":"x"}'
    assert student.requests[0].json["tools"] == TOOLS


def test_streamed_tools(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    def script(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "refund", "arguments": ""}}
        yield chunked(chunk({"role": "assistant", "tool_calls": [first]}))
        for part in ('{"mod', 'el":"x"}'):
            yield chunked(chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}))
        yield chunked(chunk({}, "tool_calls") + DONE) + STREAM_END

    student.script = script
    with client(to_student).chat.completions.stream(model="support-chat", messages=MESSAGES, tools=TOOLS) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.arguments == '{"model":"x"}'


class Intent(BaseModel):
    intent: str
    priority: int


def test_parse_with_a_pydantic_model(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    student.script = lambda request: [response(completion('{"intent":"refund","priority":2}'))]
    answer = client(to_student).chat.completions.parse(model="support-chat", messages=MESSAGES, response_format=Intent)
    assert answer.choices[0].message.parsed == Intent(intent="refund", priority=2)
    assert student.requests[0].json["response_format"]["json_schema"]["name"] == "Intent"


def test_unknown_fields_vision_n_and_logprobs_pass_through(
    to_student: GatewayProcess, student: ScriptedUpstream
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content = [{"type": "text", "text": "what is this"}, picture]
    client(to_student).chat.completions.create(
        model="support-chat",
        messages=[{"role": "user", "content": content}],  # type: ignore[typeddict-item,misc]
        n=3,
        logprobs=True,
        top_logprobs=5,
        extra_body={"guided_choice": ["a", "b"], "future_field": {"deep": [1, None]}},
    )
    sent = student.requests[0].json
    assert sent["model"] == "student-model"
    assert sent["messages"][0]["content"] == content
    assert (sent["n"], sent["logprobs"], sent["top_logprobs"]) == (3, True, 5)
    assert sent["guided_choice"] == ["a", "b"]
    assert sent["future_field"] == {"deep": [1, None]}


def test_completions_embeddings_responses_and_models(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    def script(request: Received) -> Iterable[Step]:
        body: dict[str, object] = {
            "/v1/completions": {
                "id": "c", "object": "text_completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "text": "hi", "finish_reason": "stop", "logprobs": None}],
            },
            "/v1/embeddings": {
                "object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
                "usage": {"prompt_tokens": 2, "total_tokens": 2},
            },
            "/v1/responses": {
                "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed",
                "parallel_tool_calls": False, "tool_choice": "auto", "tools": [],
                "output": [{
                    "id": "msg", "type": "message", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "hi", "annotations": []}],
                }],
                "usage": {
                    "input_tokens": 5, "output_tokens": 1, "total_tokens": 6,
                    "input_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"reasoning_tokens": 0},
                },
            },
        }[request.target]  # fmt: skip
        yield response(body)

    student.script = script
    api = client(to_student)
    assert api.completions.create(model="support-chat", prompt="x").choices[0].text == "hi"
    assert api.embeddings.create(model="support-chat", input="x", encoding_format="float").data[0].embedding == [0.5]
    assert api.responses.create(model="support-chat", input="x").output_text == "hi"
    assert [model.id for model in api.models.list()] == ["support-chat"]
    assert api.models.retrieve("support-chat").id == "support-chat"
    assert to_student.metric("understudy_tokens_total", kind="cached_input") == 4
    assert to_student.metric("understudy_tokens_total", kind="input", source="reported") == 7


def test_a_responses_stream(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    shell = {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [],
        "parallel_tool_calls": False, "tool_choice": "auto", "tools": [],
    }  # fmt: skip
    usage = {
        "input_tokens": 5, "output_tokens": 2, "total_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    events = [
        {"type": "response.created", "sequence_number": 0, "response": {**shell, "status": "in_progress"}},
        *(
            {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "i", "output_index": 0,
             "content_index": 0, "delta": word, "logprobs": []}
            for word in ("Hel", "lo")
        ),
        {"type": "response.completed", "sequence_number": 3,
         "response": {**shell, "status": "completed", "usage": usage}},
    ]  # fmt: skip

    def script(request: Received) -> Iterable[Step]:
        assert "stream_options" not in request.json
        yield STREAM_HEAD
        for one in events:
            yield chunked(f"event: {one['type']}\n".encode() + event(one))
        yield STREAM_END

    student.script = script
    stream = client(to_student).responses.create(model="support-chat", input="x", stream=True)
    assert "".join(one.delta for one in stream if one.type == "response.output_text.delta") == "Hello"
    assert to_student.metric("understudy_requests_total", outcome="ok") == 1
    assert to_student.metric("understudy_tokens_total", kind="output", source="reported") == 2


KEYS = {
    "keys": [
        {"name": "shop-app", "tenant": "shop", "key": "${APP_KEY}"},
        {"name": "sre", "role": "admin", "key": "${SRE_KEY}"},
    ]
}
ENV = {"APP_KEY": "app-key-secret", "SRE_KEY": "sre-key-secret"}


@pytest.fixture
def keyed(gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream) -> GatewayProcess:
    limits = {"limits": {"body_bytes": 100_000}}
    return gateway_process({**two_upstreams(student, teacher), **KEYS, **limits}, env=ENV)


def test_errors_are_the_typed_exceptions(keyed: GatewayProcess, student: ScriptedUpstream) -> None:
    def create(key: str, model: str = "support-chat", content: str = "hi") -> None:
        client(keyed, key).chat.completions.create(model=model, messages=[{"role": "user", "content": content}])

    create("app-key-secret")
    with pytest.raises(openai.AuthenticationError) as wrong_key:
        create("wrong")
    assert wrong_key.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as unknown:
        create("app-key-secret", model="nope")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.APIStatusError) as large:
        create("app-key-secret", content="x" * 200_000)
    assert (large.value.status_code, large.value.code) == (413, "request_too_large")
    assert keyed.metric("understudy_refused_total", code="invalid_api_key") == 1
    with pytest.raises(openai.AuthenticationError):
        client(keyed, "wrong").models.list()


def test_no_secret_is_logged(keyed: GatewayProcess) -> None:
    with pytest.raises(openai.AuthenticationError):
        client(keyed, "guessed-secret").models.list()
    for secret in (*ENV.values(), "teacher-secret", "guessed-secret"):
        assert secret not in keyed.log


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("400 Bad Request", openai.BadRequestError),
        ("422 Unprocessable Entity", openai.UnprocessableEntityError),
        ("429 Too Many Requests", openai.RateLimitError),
        ("500 Internal Server Error", openai.InternalServerError),
        ("503 Service Unavailable", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_upstream_errors_keep_their_status_and_body(
    alone: GatewayProcess,
    student: ScriptedUpstream,
    status: str,
    expected: type[openai.APIStatusError],
    stream: bool,
) -> None:
    body = {"error": {"message": "as it came", "type": "x", "param": "p", "code": "c"}}
    student.script = lambda request: [response(body, status, "retry-after: 7\r\n")]
    with pytest.raises(expected) as caught:
        client(alone).chat.completions.create(model="support-chat", messages=MESSAGES, stream=stream)
    assert caught.value.body == body["error"]
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.response.headers["x-understudy-upstream"] == "small"


@pytest.mark.parametrize(
    "body", [{"detail": "Not Found"}, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}]
)
def test_a_path_the_upstream_lacks(
    to_student: GatewayProcess, student: ScriptedUpstream, body: dict[str, object]
) -> None:
    student.script = lambda request: [response(body, "404 Not Found")]
    with pytest.raises(openai.NotFoundError) as caught:
        client(to_student).responses.create(model="support-chat", input="x")
    assert caught.value.code == "unsupported_endpoint"
    assert "'small' does not serve /v1/responses" in caught.value.message


def test_a_model_the_upstream_lacks_is_its_own_error(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    body = {"error": {"message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404}}
    student.script = lambda request: [response(body, "404 Not Found")]
    with pytest.raises(openai.NotFoundError, match="The model `m` does not exist"):
        client(to_student).chat.completions.create(model="support-chat", messages=MESSAGES)


def test_an_upstream_that_is_down(gateway_process: StartGateway, teacher: ScriptedUpstream) -> None:
    nobody = ScriptedUpstream(lambda request: [], port=free_port())
    gateway = gateway_process(two_upstreams(nobody, teacher, student_percent=100, fallback=NO_FALLBACK))
    with pytest.raises(openai.InternalServerError) as caught:
        client(gateway).chat.completions.create(model="support-chat", messages=MESSAGES)
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_unreachable")
    assert gateway.metric("understudy_requests_total", outcome="connect_error") == 1


def test_an_error_instead_of_the_first_token(alone: GatewayProcess, student: ScriptedUpstream) -> None:
    """vLLM and others answer 200 and put the error into the stream; before a token it is still a status."""
    error = event({"error": {"message": "prompt too long", "type": "BadRequestError", "code": 400}})
    student.script = lambda request: [STREAM_HEAD, chunked(error), chunked(DONE), STREAM_END]
    with pytest.raises(openai.BadRequestError, match="prompt too long"):
        client(alone).chat.completions.create(model="support-chat", messages=MESSAGES, stream=True)


def test_a_stream_that_breaks_off_is_no_success(alone: GatewayProcess, student: ScriptedUpstream) -> None:
    cut = chunk({"content": "never whole"})[:40]
    student.script = lambda request: [STREAM_HEAD, chunked(chunk({"content": "Hel"})), 0.05, chunked(cut)[:30], CLOSE]
    stream = client(alone).chat.completions.create(model="support-chat", messages=MESSAGES, stream=True)
    seen = []
    with pytest.raises(openai.APIError, match="broke off"):
        seen.extend(one.choices[0].delta.content for one in stream)
    assert seen == ["Hel"]
    assert alone.metric("understudy_requests_total", outcome="truncated") == 1
    assert alone.metric("understudy_tokens_total", kind="output", source="estimated") == 1


def test_a_stream_without_finish_or_done_is_no_success(alone: GatewayProcess, student: ScriptedUpstream) -> None:
    student.script = lambda request: [STREAM_HEAD, chunked(chunk({"content": "Hel"})), STREAM_END]
    stream = client(alone).chat.completions.create(model="support-chat", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="without a finish reason"):
        list(stream)


@pytest.mark.parametrize("stream", [False, True])
def test_a_malformed_response(alone: GatewayProcess, student: ScriptedUpstream, stream: bool) -> None:
    student.script = lambda request: [b"SMTP ready\r\n\r\n"]
    with pytest.raises(openai.InternalServerError) as caught:
        client(alone).chat.completions.create(model="support-chat", messages=MESSAGES, stream=stream)
    assert caught.value.code == "upstream_invalid_response"


def test_a_redirect_is_not_followed(alone: GatewayProcess, student: ScriptedUpstream) -> None:
    student.script = lambda request: [response({}, "307 Temporary Redirect", "location: http://elsewhere/\r\n")]
    with pytest.raises(openai.InternalServerError) as caught:
        client(alone).chat.completions.create(model="support-chat", messages=MESSAGES)
    assert caught.value.code == "upstream_invalid_response"


def test_an_answer_of_another_encoding_of_json_is_relayed_byte_for_byte(
    to_student: GatewayProcess, student: ScriptedUpstream
) -> None:
    body = b'{ "choices" : [ {} ],\n "number": 1.50, "text":"\\u00e9 \xc3\xa9" }'
    student.script = lambda request: [response(body)]
    raw = client(to_student).chat.completions.with_raw_response.create(model="support-chat", messages=MESSAGES)
    assert raw.content == body


def test_routing_headers_can_be_switched_off(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process({**two_upstreams(student, teacher), "routing_headers": False})
    raw = client(gateway).chat.completions.with_raw_response.create(model="support-chat", messages=MESSAGES)
    assert not [name for name in raw.headers if name.startswith("x-understudy")]
    assert raw.headers["x-request-id"].startswith("req_")


def test_client_headers_that_go_on_and_that_do_not(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client(to_student, "client-secret").chat.completions.create(
        model="support-chat",
        messages=MESSAGES,  # type: ignore[arg-type]
        extra_headers={"traceparent": trace, "cookie": "a=b", "x-understudy-shadow": "1"},
    )
    sent = student.requests[0].headers
    assert sent["traceparent"] == trace
    assert "cookie" not in sent
    assert "x-understudy-shadow" not in sent
    assert "client-secret" not in json.dumps(sent)


def test_sessions_stick_and_the_share_holds(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=50))
    api = client(gateway)

    def side(session: str, header: str | None = None) -> str:
        extra = {"x-session-id": header} if header else {}
        raw = api.chat.completions.with_raw_response.create(
            model="support-chat", messages=MESSAGES, user=session, extra_headers=extra
        )
        return raw.headers["x-understudy-upstream"]

    sides = {f"u{number}": side(f"u{number}") for number in range(40)}
    assert set(sides.values()) == {"small", "big"}
    for session, before in sides.items():
        assert side(session) == before
    assert {side(f"u{number}", "one-session") for number in range(10)} == {side("x", "one-session")}


def test_of_several_choices_one_that_is_cut_is_a_cut_answer(alone: GatewayProcess, student: ScriptedUpstream) -> None:
    def choice(index: int, text: str, finish: str | None = None) -> bytes:
        return chunked(event({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}))

    student.script = lambda request: [STREAM_HEAD, choice(0, "a", "stop"), choice(1, "b"), 0.05, CLOSE]
    stream = client(alone).chat.completions.create(model="support-chat", messages=MESSAGES, stream=True, n=2)
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)


def test_an_error_in_a_stream_is_told_once(alone: GatewayProcess, student: ScriptedUpstream) -> None:
    error = chunked(event({"error": {"message": "out of memory", "code": 500}}))
    student.script = lambda request: [STREAM_HEAD, chunked(chunk({"content": "Hel"})), 0.05, error, CLOSE]
    stream = client(alone).chat.completions.create(model="support-chat", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="out of memory"):
        list(stream)
    assert alone.metric("understudy_requests_total", outcome="upstream_error") == 1
    assert alone.metric("understudy_tokens_total", kind="output", source="estimated") == 1


def test_a_failed_response_is_no_success(alone: GatewayProcess, student: ScriptedUpstream) -> None:
    failed = {"type": "response.failed", "response": {"status": "failed", "error": {"code": "x", "message": "y"}}}
    delta = {"type": "response.output_text.delta", "delta": "Hi"}
    student.script = lambda request: [STREAM_HEAD, chunked(event(delta)), 0.05, chunked(event(failed)), STREAM_END]
    list(client(alone).responses.create(model="support-chat", input="x", stream=True))
    assert alone.metric("understudy_requests_total", outcome="upstream_error") == 1


def test_a_stream_whose_last_event_lacks_its_empty_line(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    end = chunk({}, "stop") + b"data: [DONE]\n"
    student.script = lambda request: [STREAM_HEAD, chunked(chunk({"content": "Hi"})), chunked(end), STREAM_END]
    list(client(to_student).chat.completions.create(model="support-chat", messages=MESSAGES, stream=True))
    assert to_student.metric("understudy_requests_total", outcome="ok") == 1


def test_a_content_type_in_capitals_is_a_stream_all_the_same(
    to_student: GatewayProcess, student: ScriptedUpstream
) -> None:
    head = STREAM_HEAD.replace(b"text/event-stream", b"Text/Event-Stream; charset=utf-8")
    student.script = lambda request: [head, chunked(chunk({"content": "Hi"})), 0.5, chunked(DONE), STREAM_END]
    client(to_student)
    started = time.monotonic()
    stream = client(to_student).chat.completions.create(model="support-chat", messages=MESSAGES, stream=True)
    next(iter(stream))
    assert time.monotonic() - started < 0.4


@pytest.mark.parametrize("body", [{"object": "error", "message": "no model m"}, {"error": "Model m not found"}])
def test_other_shapes_of_a_models_404_are_its_own(
    to_student: GatewayProcess, student: ScriptedUpstream, body: dict[str, object]
) -> None:
    student.script = lambda request: [response(body, "404 Not Found")]
    with pytest.raises(openai.NotFoundError) as caught:
        client(to_student).chat.completions.create(model="support-chat", messages=MESSAGES)
    assert caught.value.response.json() == body


@pytest.mark.parametrize(
    "body",
    [
        b'{"\xff":1,"model":"support-chat","m":{"model":"b"}}',
        b'{"model":"support-chat","stream":true,"stream_options":{"a":1e400,"\xff":2}}',
        b'{"model":"support-chat","stream":true,"stream_options":{"a":1e400}}',
    ],
)
def test_odd_bodies_are_no_failure_of_the_gateways(
    to_student: GatewayProcess, student: ScriptedUpstream, body: bytes
) -> None:
    student.script = lambda request: [response(completion())]
    answer = httpx2.post(f"{to_student.url}/v1/chat/completions", content=body, timeout=5)
    assert answer.status_code in (200, 400)
    assert "Traceback" not in to_student.log


def test_an_unknown_model_is_not_echoed_at_length(to_student: GatewayProcess) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client(to_student).chat.completions.create(model="m" * 100_000, messages=MESSAGES)
    assert len(caught.value.message) < 400
