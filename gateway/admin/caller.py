"""Who asks, on every path but those of the models."""

from typing import Annotated

from fastapi import Depends, Request

from gateway.face.errors import FORBIDDEN, INVALID_HTTP, ApiError
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


def _admin(caller: Caller) -> Identity:
    if not caller.admin:
        raise ApiError(FORBIDDEN, f"The key {caller.name!r} may not do this: expected a key with role: admin.")
    return caller


Admin = Annotated[Identity, Depends(_admin)]
