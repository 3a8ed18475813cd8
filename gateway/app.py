"""Wires a worker together, and holds the ASGI app for everything but the hot path."""

import gc
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from gateway import __version__, config
from gateway.admin.routes import router as admin_router
from gateway.control.door import Door
from gateway.control.watch import POLL_S, Watch
from gateway.face.errors import INTERNAL, INVALID_CHANGE, METHOD_NOT_ALLOWED, UNKNOWN_MODEL, UNKNOWN_PATH, ApiError
from gateway.face.openai import ENDPOINTS
from gateway.intake import identify
from gateway.state import Gateway
from gateway.stores.sqlite import SqliteStore
from gateway.supervisor import Supervisor

CONFIG_ENV = "UNDERSTUDY_CONFIG"  # how `understudy serve` tells its workers which file to read
_log = logging.getLogger(__name__)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    settings = config.load(Path(os.environ[CONFIG_ENV]))
    gateway = Gateway.build(settings)
    store = SqliteStore(settings.store_path)
    door = Door(settings, store)
    watch = Watch(gateway, door)

    async def keep_house() -> None:
        for upstream in gateway.upstreams.values():
            upstream.pool.sweep()
        gateway.show_load()

    async with Supervisor() as supervisor:
        await watch.look()
        gateway.show_load()
        supervisor.every(POLL_S, "watch the store", watch.look)
        supervisor.every(1.0, "keep house", keep_house)
        gateway.ready = True
        gc.collect()
        gc.freeze()  # what lives as long as the worker need not be looked at again
        yield {"gateway": gateway, "door": door, "watch": watch}
        gateway.draining = True
        await gateway.close()
    store.close()


def create_app() -> FastAPI:
    app = FastAPI(
        title="Understudy",
        version=__version__,
        description="A gateway that makes the switch from a teacher model to its student safe.",
        lifespan=_lifespan,
        redoc_url=None,
    )
    app.include_router(admin_router)

    @app.get("/healthz", tags=["operation"], response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the process is alive."""
        return "ok\n"

    @app.get("/readyz", tags=["operation"], response_class=PlainTextResponse)
    async def readyz(request: Request) -> Response:
        """Whether it should get traffic: 503 before the config is loaded and while draining."""
        gateway: Gateway = request.state.gateway
        if gateway.ready and not gateway.draining:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("draining\n" if gateway.draining else "starting\n", status_code=503)

    @app.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
    def metrics(request: Request) -> Response:
        """Prometheus metrics of all workers of this host, whichever answers."""
        gateway: Gateway = request.state.gateway
        return Response(gateway.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models", tags=["models"])
    async def list_models(request: Request) -> dict[str, Any]:
        """The routes, as models."""
        gateway = _identified(request)
        return {"object": "list", "data": [_model(name) for name in gateway.routes.by_name]}

    @app.get("/v1/models/{model:path}", tags=["models"])
    async def read_model(request: Request, model: str) -> dict[str, Any]:
        """One route, as a model."""
        if model not in _identified(request).routes.by_name:
            raise ApiError(UNKNOWN_MODEL, f"The model {model!r} does not exist. GET /v1/models lists those that do.")
        return _model(model)

    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _identified(request: Request) -> Gateway:
    gateway: Gateway = request.state.gateway
    authorization = request.headers.get("authorization")
    identify(gateway.keys, authorization.encode("latin-1") if authorization else None)
    return gateway


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "understudy"}


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    gateway: Gateway = request.state.gateway
    gateway.metrics.refused(error.kind.code)
    return Response(error.body, error.kind.status, media_type="application/json")


def _http_error(request: Request, error: Exception) -> Response:
    """A path or method that is not served, in the shape that API clients expect."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    if error.status_code == 404 and path.encode() in ENDPOINTS:
        return _api_error(request, ApiError(METHOD_NOT_ALLOWED, f"Expected POST on {path}, got {method}."))
    if error.status_code == 404:
        served = ", ".join(name.decode() for name in ENDPOINTS)
        return _api_error(request, ApiError(UNKNOWN_PATH, f"Unknown URL ({method} {path}). Models answer {served}."))
    if error.status_code == 405:
        return _api_error(request, ApiError(METHOD_NOT_ALLOWED, f"Not allowed: {method} on {path}."))
    return JSONResponse(
        {"error": {"message": str(error.detail), "type": None, "param": None, "code": None}}, error.status_code
    )


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [config.describe(detail) for detail in error.errors()]
    return _api_error(request, ApiError(INVALID_CHANGE, "; ".join(problems)))


def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _api_error(request, ApiError(INTERNAL, "The gateway failed on this request; its log says why."))
