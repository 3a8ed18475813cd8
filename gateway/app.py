"""Wires a worker together, and holds the ASGI app for everything but the hot path."""

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import __version__
from gateway.admin.api import router as admin_router
from gateway.admin.caller import Caller, gateway_of
from gateway.after.filing import Filing
from gateway.config import Config, ConfigError, cut, load
from gateway.control.door import ANSWER_S, Door
from gateway.control.shares import SHARE_S, Shares
from gateway.control.watch import REPORT_S, Watch
from gateway.face.errors import INTERNAL, METHOD_NOT_ALLOWED, UNKNOWN_MODEL, UNKNOWN_PATH, ApiError
from gateway.face.openai import ENDPOINTS
from gateway.intake import request_id
from gateway.rollout.rollouts import TURN_S, Rollouts
from gateway.state import TICK_S, Gateway
from gateway.stores.protocols import Store, StoreError
from gateway.stores.url import make_pair_store, make_store
from gateway.supervisor import Supervisor

_TWO_DAYS_S = 2 * 86_400.0
_log = logging.getLogger(__name__)


@asynccontextmanager
async def _lifespan(config: Config, app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    gateway = Gateway.build(config)
    store = make_store(config.store)
    door = Door(config, store)
    watch = Watch(gateway, door, store)
    pairs = make_pair_store(config.store)
    filing = Filing(gateway.shadows, pairs)
    shares = Shares(store, watch.replica)
    rollouts = Rollouts(gateway, door, watch, store, pairs)
    async with Supervisor() as supervisor:
        gateway.apply(config, {}, 0)  # the file's, until the store answers
        await watch.start()
        await gateway.captures.flush()  # from the first request on it is noted what is owed to the disk
        with suppress(StoreError, ConfigError):
            await door.ask(ANSWER_S, door.effective, door.standing)  # once, or the first who looks would wait for it
        await gateway.keep_house()
        supervisor.every(TICK_S, "deadlines", gateway.tick)
        supervisor.every(0.0, "follow the store", watch.follow)
        supervisor.every(REPORT_S, "report to the store", watch.report)
        supervisor.every(1.0, "take back what was to end by itself", watch.expire)
        supervisor.every(SHARE_S, "share budgets", lambda: shares.sync(gateway.keys.budgets))
        spending = partial(_share_spending, gateway, door, store, watch.replica)
        supervisor.every(1.0, "share what mirroring and safety nets cost", spending)
        supervisor.every(0.5, "file records", filing.flush)
        supervisor.every(1.0, "write captured requests", gateway.captures.flush)
        supervisor.every(TURN_S, "lead rollouts", rollouts.lead)
        supervisor.every(1.0, "keep house", gateway.keep_house)
        _reload_on_hangup(config, door, watch)
        gateway.ready = True
        gc.collect()
        gc.freeze()  # what lives as long as the worker need not be looked at again
        gc.set_threshold(20_000, 10, 10)  # neither requests nor connections leave cycles behind
        yield {"gateway": gateway, "door": door, "watch": watch, "store": store, "pairs": pairs, "rollouts": rollouts}
        gateway.draining = True
        await rollouts.leave()
        await gateway.close()
        await shares.sync(gateway.keys.budgets)
        await watch.leave()
        await filing.flush()
    filing.close()
    door.close()
    store.close()
    pairs.close()


async def _share_spending(gateway: Gateway, door: Door, store: Store, replica: str) -> None:
    """Tell the other replicas what mirroring and safety nets have cost today, and hear of theirs: the caps are for all
    together."""
    spent = gateway.shadows.spent_today() | gateway.nets.spent_today(gateway.routes.by_name.values())
    if not spent:
        return
    with suppress(StoreError):  # then each goes on with what it knows
        _, others = await door.ask(ANSWER_S, store.share, replica, [], spent, _TWO_DAYS_S)
        gateway.shadows.heard(others)
        gateway.nets.heard(others)


def _reload_on_hangup(config: Config, door: Door, watch: Watch) -> None:
    """On SIGHUP the config file is read again, with the environment's and the files' secrets."""
    reading: set[asyncio.Task[None]] = set()

    async def read_again(file: Path) -> None:
        try:
            again = await asyncio.to_thread(load, file)
            await door.reground(again)
        except (ConfigError, StoreError) as error:
            _log.error("SIGHUP: nothing is changed: %s", error)
            return
        fixed = [name for name in ("listen", "store", "drain_s", "exchange_log") if _differs(name, config, again)]
        if fixed:
            _log.warning("SIGHUP: another value of %s needs a restart", ", ".join(fixed))
        await watch.look()
        _log.info("SIGHUP: %s was read again", file)

    def hangup() -> None:
        assert config.file is not None
        task = asyncio.get_running_loop().create_task(read_again(config.file))
        reading.add(task)
        task.add_done_callback(reading.discard)

    if config.file is not None and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup)


def _differs(name: str, one: Config, other: Config) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def create_app(config: Config) -> ASGIApp:
    """The app of a worker. `config` is handed over by the process that read it: all workers serve the same."""
    app = FastAPI(
        title="Understudy",
        version=__version__,
        description="A gateway that makes the switch from a teacher model to its student safe.",
        lifespan=partial(_lifespan, config),
        redoc_url=None,
    )
    app.include_router(admin_router)

    @app.head("/healthz", include_in_schema=False, response_class=PlainTextResponse)
    @app.get("/healthz", tags=["operation"], response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the process is alive."""
        return "ok\n"

    @app.head("/readyz", include_in_schema=False, response_class=PlainTextResponse)
    @app.get("/readyz", tags=["operation"], response_class=PlainTextResponse)
    async def readyz(request: Request) -> Response:
        """Whether it should get traffic: 503 before the config is loaded and while draining."""
        gateway = gateway_of(request)
        if gateway.ready and not gateway.draining:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("draining\n" if gateway.draining else "starting\n", status_code=503)

    @app.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        """Prometheus metrics of all workers of this host, whichever answers."""
        gateway = gateway_of(request)
        gateway.metrics.flush()
        text = await asyncio.to_thread(gateway.metrics.exposition)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models", tags=["models"])
    async def list_models(request: Request, _: Caller) -> dict[str, Any]:
        """The routes, as models."""
        return {"object": "list", "data": [_model(name) for name in gateway_of(request).routes.by_name]}

    @app.get("/v1/models/{model:path}", tags=["models"])
    async def read_model(request: Request, model: str, _: Caller) -> dict[str, Any]:
        """One route, as a model."""
        if model not in gateway_of(request).routes.by_name:
            name = cut(repr(model))
            raise ApiError(UNKNOWN_MODEL, f"The model {name} does not exist. GET /v1/models lists those that do.")
        return _model(model)

    app.openapi = partial(_openapi, app)  # type: ignore[method-assign]
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    return _WithRequestId(app)


class _WithRequestId:
    """Gives every answer its `x-request-id`, those to what the app failed on too: so it is around the whole app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = scope["state"]["request_id"] = request_id(dict(scope["headers"]))

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", name.encode())]
            await send(message)

        await self._app(scope, receive, send_named)


_MODEL_INPUT: dict[bytes, dict[str, Any]] = {  # what each endpoint takes besides `model`; the rest is passed through
    b"/v1/chat/completions": {"messages": {"type": "array", "items": {"type": "object"}}},
    b"/v1/completions": {"prompt": {}},
    b"/v1/responses": {"input": {}},
    b"/v1/embeddings": {"input": {}},
}


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with the model endpoints, which are served below it."""
    schema = FastAPI.openapi(app)
    for path, own in _MODEL_INPUT.items():
        schema["paths"].setdefault(path.decode(), {"post": _described(path.decode(), own)})
    return schema


def _described(path: str, own: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "object",
        "required": ["model", *own],
        "properties": {"model": {"type": "string", "description": "The name of a route."}, **own},
    }
    answers: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if path != "/v1/embeddings":
        body["properties"]["stream"] = {"type": ["boolean", "null"]}
        answers["text/event-stream"] = {"schema": {"type": "string"}}
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "object"}}}
    return {
        "tags": ["models"],
        "summary": f"As OpenAI's {path}; unknown fields are passed through",
        "operationId": path.strip("/").replace("/", "_"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "The model's answer", "content": answers},
            "default": {"description": "An error", "content": {"application/json": {"schema": error}}},
        },
    }


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "understudy"}


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    gateway_of(request).metrics.refused(error.kind.code)
    return Response(error.body, error.kind.status, media_type="application/json")


def _http_error(request: Request, error: Exception) -> Response:
    """A path or method that is not served, in the shape that API clients expect."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    asked = f"{method} {cut(path)}"
    if error.status_code == 404 and path.encode() in ENDPOINTS:
        if method == "POST":
            exactly = f"Expected the path {path} as it stands here, without percent-encoding."
            return _api_error(request, ApiError(UNKNOWN_PATH, exactly))
        return _api_error(request, ApiError(METHOD_NOT_ALLOWED, f"Expected POST on {path}, got {method}."))
    if error.status_code == 404:
        served = ", ".join(name.decode() for name in ENDPOINTS)
        return _api_error(request, ApiError(UNKNOWN_PATH, f"Unknown URL ({asked}). Models answer {served}."))
    if error.status_code == 405:
        return _api_error(request, ApiError(METHOD_NOT_ALLOWED, f"Not allowed: {asked}."))
    return JSONResponse(
        {"error": {"message": str(error.detail), "type": None, "param": None, "code": None}}, error.status_code
    )


def _unexpected(request: Request, error: Exception) -> Response:
    asked = f"{request.method} {cut(request.url.path)}"
    _log.error("request %s failed inside the gateway: %s", request.state.request_id, asked, exc_info=error)
    return _api_error(request, ApiError(INTERNAL, "The gateway failed on this request; its log says why."))
