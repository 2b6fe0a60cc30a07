"""The shared objects of one application, each found by its type: its store, its snapshot, its verifier of tokens.

    store = provided(request, Store)

`api/app.py` puts the application together. A room asks for its own objects by their types, so that this file knows none
of these types, and callers need no cast.
"""

from typing import Any, TypeVar, cast

from fastapi import Request
from starlette.datastructures import State

Kind = TypeVar("Kind")


class Services:
    """One object of each type."""

    def __init__(self, *shared: object) -> None:
        self._shared: dict[type[Any], Any] = {}
        for service in shared:
            self.put(service)

    def put(self, shared: object) -> None:
        """Adds an object under its class and its base classes, in the place of earlier ones of these types."""
        self._shared.update(dict.fromkeys(type(shared).__mro__[:-1], shared))

    def of(self, kind: type[Kind]) -> Kind:
        """The object of this type. Raises `LookupError` where the application has none."""
        return cast(Kind, self._shared[kind])

    def install(self, state: State) -> None:
        """Makes these the services of the application with this state."""
        state.services = self


def provided(request: Request, kind: type[Kind]) -> Kind:
    """The application's own object of this type."""
    return cast(Services, request.app.state.services).of(kind)
