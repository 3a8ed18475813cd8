"""A property that is worked out when it is first asked for, and kept.

As `functools.cached_property`, without the lock that that takes each time up to Python 3.11: it costs 0.8 us, more than
most facts do, and facts are asked for by one task alone.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class once(Generic[Value]):  # noqa: N801 - a decorator
    """Not a data descriptor: once there is a value in the instance's own dictionary, Python finds that first."""

    def __init__(self, work_out: Callable[[Any], Value]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "once[Value]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> "Value | once[Value]":
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._work_out(instance)
        return value
