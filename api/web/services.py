"""What the routes of one application share, each by its type: its store, its snapshot, its verifier of tokens.

    store = provided(request, Store)

The application is put together in `api/app.py`. A room asks for its own things by their types, so that this file knows
none of them, and nothing has to be cast.
"""

from typing import Any, TypeVar, cast

from fastapi import Request
from starlette.datastructures import State

Kind = TypeVar("Kind")


class Services:
    """One object of each type."""

    def __init__(self, *shared: object) -> None:
        self._shared: dict[type[Any], Any] = {}
        for each in shared:
            self.put(each)

    def put(self, shared: object) -> None:
        """Adds it under its class and those that it extends, or puts it in the place of the one that was there."""
        self._shared.update(dict.fromkeys(type(shared).__mro__[:-1], shared))

    def of(self, kind: type[Kind]) -> Kind:
        """The one of this type. Raises `LookupError` where the application has none."""
        return cast(Kind, self._shared[kind])

    def install(self, state: State) -> None:
        """Makes them those of the application with this state."""
        state.services = self


def provided(request: Request, kind: type[Kind]) -> Kind:
    """The application's own object of this type."""
    return cast(Services, request.app.state.services).of(kind)
