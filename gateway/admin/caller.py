"""Who asks, on every path but those of the models.

With no keys whoever reaches the loopback port may change routes, and a web page that is open in a browser on this host
reaches it: by a form or script that sends to 127.0.0.1, or by a name of its own that it lets resolve to 127.0.0.1 (DNS
rebinding). So an open gateway is administered only under a name of this host, and not from pages.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from gateway.config import cut, is_loopback
from gateway.face.errors import FORBIDDEN, INVALID_HTTP, INVALID_PARAMETER, ApiError
from gateway.intake import identify
from gateway.state import Gateway, Identity


def gateway_of(request: Request) -> Gateway:
    gateway: Gateway = request.state.gateway
    return gateway


def _caller(request: Request) -> Identity:
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise ApiError(INVALID_HTTP, f"Expected one Authorization header, got {len(given)}.")
    return identify(gateway_of(request).keys, given[0].encode("latin-1") if given else None)


Caller = Annotated[Identity, Depends(_caller)]


def _admin(request: Request, caller: Caller) -> Identity:
    if gateway_of(request).keys.open and not _from_this_host(request):
        raise ApiError(FORBIDDEN, "Without keys this is for programs that ask for 127.0.0.1 or localhost: set keys.")
    if not caller.admin:
        raise ApiError(FORBIDDEN, f"The key {caller.name!r} may not do this: expected a key with role: admin.")
    return caller


Admin = Annotated[Identity, Depends(_admin)]


def _from_this_host(request: Request) -> bool:
    """Whether it was sent to a name of this host, by something that is no web page of another."""
    origin = request.headers.get("origin")
    try:
        if origin is not None and not is_loopback(urlsplit(origin).hostname or ""):
            return False
        return is_loopback(urlsplit(f"//{request.headers.get('host', '')}").hostname or "")
    except ValueError:  # what is no host
        return False


class AdminRoute(APIRoute):
    """An endpoint whose errors about parameters have the shape of all others."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                first = error.errors()[0]
                name, came = str(first["loc"][-1]), cut(repr(first.get("input")))
                raise ApiError(INVALID_PARAMETER, f"{name}: {first['msg']}, got {came}.", name) from None

        return handle_or_refuse
