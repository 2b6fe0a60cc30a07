"""The route table: maps method and URI of a request through a gateway to the data that it is about.

One route a line; `#` begins a comment.

    METHODS   TEMPLATE                                        TYPE      PLACE               SCOPES
    GET,HEAD  /las/v1/scholen/{brin}/leerlingen{?page,limit}  leerling  {brin}              leerling.naam
    *         /las/v1/{brin}/{vestiging}/groepen              groep     {brin}{vestiging}

Templates follow RFC 6570: `{name}` stands for one whole path segment, `{?name,name}` at the end for query parameters.
PLACE composes a BRIN4 or BRIN6 from their values; where it has several variables, each must be a whole BRIN4 or a
location's two digits. All SCOPES must be granted; without any, one scope of the type is enough.

A URI is matched as it was sent, with one interpretation only. Whatever another parser could read as another address (an
escaped or doubled slash, a `..`, a `;`, a repeated parameter, one that the template does not name) matches no route.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final, NamedTuple

from models.vocabulary.identifiers import is_place
from models.vocabulary.scopes import CATALOGUE, RESOURCE_TYPES, repeated

MOST_TARGET_CHARACTERS: Final = 8 * 1024

_METHODS: Final = re.compile(r"\*|[A-Z]{1,16}(,[A-Z]{1,16})*")
_TEMPLATE: Final = re.compile(r"(?P<path>/[^?{}]*(?:\{\w+\}[^?{}]*)*)(?:\{\?(?P<query>\w+(?:,\w+)*)\})?", re.ASCII)
_SEGMENT: Final = re.compile(r"\{(?P<name>[a-z_]\w*)\}|[\w.~:@,+=-]*", re.ASCII)
_IN_PLACE: Final = re.compile(r"\{(\w+)\}", re.ASCII)
#: Value of a variable; a path segment is never `.` or `..`.
_VALUE: Final = r"[A-Za-z0-9_~.-]{1,128}"
_PATH_VALUE: Final = rf"(?!\.\.?(?:/|$)){_VALUE}"
#: Value of a variable that forms a place together with others: a BRIN4, or a location's two digits.
_PART: Final = re.compile(r"[0-9]{2}(?:[A-Z]{2})?", re.ASCII)
_PLAIN_VALUE: Final = re.compile(_VALUE, re.ASCII)
_QUERY_VALUE: Final = re.compile(r"(?:[\w.~:@,+/-]|%[0-9A-Fa-f]{2}){0,512}", re.ASCII)


class RouteTableInvalid(ValueError):
    """A route table with errors; the message has one line for each."""


class RequestedData(NamedTuple):
    """The data that a request is about."""

    resource_type: str
    place: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """One line of the table. An empty `methods` matches any method."""

    line: int
    methods: frozenset[str]
    segments: tuple[str, ...]
    parameters: tuple[str, ...]
    resource_type: str
    place: str
    scopes: tuple[str, ...]
    path: re.Pattern[str]

    def requested_data(self, method: str, path: str, query: str | None) -> RequestedData | None:
        """The data that a request to this address is about; None when the request does not match."""
        match = self.path.fullmatch(path)
        if match is None or (self.methods and method not in self.methods):
            return None
        parameters = self._parameters(query)
        if parameters is None:
            return None
        known = {**parameters, **match.groupdict()}
        parts = [known.get(name) for name in _IN_PLACE.findall(self.place)]
        if None in parts:
            return None
        if not _IN_PLACE.fullmatch(self.place) and not all(_PART.fullmatch(part or "") for part in parts):
            return None
        place = _IN_PLACE.sub(lambda name: known[name[1]], self.place)
        return RequestedData(self.resource_type, place, self.scopes)

    def _parameters(self, query: str | None) -> dict[str, str] | None:
        """The query's parameters; None when one is repeated or not named by the template."""
        values: dict[str, str] = {}
        for each in query.split("&") if query is not None else ():
            name, equals, value = each.partition("=")
            if not equals or name not in self.parameters or name in values or not _QUERY_VALUE.fullmatch(value):
                return None
            if f"{{{name}}}" in self.place and not _PLAIN_VALUE.fullmatch(value):
                return None
            values[name] = value
        return values

    def overlaps(self, other: "Route") -> bool:
        """Whether a request can match both routes."""
        if self.methods and other.methods and self.methods.isdisjoint(other.methods):
            return False
        if len(self.segments) != len(other.segments):
            return False
        pairs = zip(self.segments, other.segments, strict=True)
        return all(one == another or "{" in (one[:1], another[:1]) for one, another in pairs)


@dataclass(frozen=True)
class RouteTable:
    """Routes of which at most one matches any request."""

    routes: tuple[Route, ...] = ()

    @classmethod
    def read(cls, text: str) -> "RouteTable":
        """Parses a route table. Raises `RouteTableInvalid`, naming each wrong line and why."""
        routes: list[Route] = []
        errors: list[str] = []
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            line_errors = list(_line_errors(words))
            errors += [f"line {number}: {reason}" for reason in line_errors]
            if not line_errors:
                routes.append(_route(number, words))
        for one, another in combinations(routes, 2):
            if one.overlaps(another):
                errors.append(f"line {another.line}: a request can be of line {one.line} as well")
        if errors:
            raise RouteTableInvalid("\n".join(errors))
        return cls(tuple(routes))

    def requested_data(self, method: str, target: str) -> RequestedData | None:
        """The data that a request is about, or None. `target` is the path and query of its URI, as sent."""
        if len(target) > MOST_TARGET_CHARACTERS:
            return None
        path, mark, query = target.partition("?")
        for route in self.routes:
            if (data := route.requested_data(method, path, query if mark else None)) is not None:
                return data
        return None


def _line_errors(words: list[str]) -> Iterator[str]:
    """The errors in the words of one line; none if they form a route."""
    if len(words) < 4:
        yield "a route is METHODS TEMPLATE TYPE PLACE and, if any, SCOPES"
        return
    methods, template, resource_type, place, *scopes = words
    if not _METHODS.fullmatch(methods):
        yield f"{methods!r} is no list of methods: `GET,HEAD`, or `*`"
    match = _TEMPLATE.fullmatch(template)
    if match is None:
        yield f"{template!r} is no template: a path, `{{name}}` for a segment, and `{{?name,name}}` at the end"
    else:
        yield from _template_errors(match["path"], _names_of(match["query"]), place)
    if resource_type not in RESOURCE_TYPES:
        yield f"{resource_type!r} is no type: {', '.join(RESOURCE_TYPES)}"
    for name in scopes:
        scope = CATALOGUE.scopes.get(name)
        if scope is None or scope.type != resource_type:
            yield f"{name!r} is no scope of {resource_type}"
    yield from (f"{name} stands there twice" for name in repeated(scopes))


def _template_errors(path: str, parameters: tuple[str, ...], place: str) -> Iterator[str]:
    variables = []
    for segment in path.split("/")[1:]:
        match = _SEGMENT.fullmatch(segment)
        if match is None or segment in (".", ".."):
            yield f"{segment!r} is no segment: letters, digits and -._~:@,+= as they are, or a whole `{{name}}`"
        elif match["name"]:
            variables.append(match["name"])
    if "//" in path:
        yield "the path has a segment without a character"
    yield from (f"{name} stands there twice" for name in repeated((*variables, *parameters)))
    unknown = set(_IN_PLACE.findall(place)) - {*variables, *parameters}
    yield from (f"the place names {name}, which the template does not" for name in sorted(unknown))
    rest = _IN_PLACE.sub("", place)
    if not re.fullmatch(r"[0-9A-Z]*", rest) or (rest == place and not is_place(place)):
        yield f"{place!r} makes no BRIN"


def _route(number: int, words: list[str]) -> Route:
    methods, template, resource_type, place, *scopes = words
    path, _, query = template.rstrip("}").partition("{?") if "{?" in template else (template, "", "")
    segments = tuple(path.split("/")[1:])
    return Route(
        line=number,
        methods=frozenset() if methods == "*" else frozenset(methods.split(",")),
        segments=segments,
        parameters=_names_of(query),
        resource_type=resource_type,
        place=place,
        scopes=tuple(scopes),
        path=re.compile("".join(f"/{_pattern(segment)}" for segment in segments), re.ASCII),
    )


def _pattern(segment: str) -> str:
    return f"(?P<{segment[1:-1]}>{_PATH_VALUE})" if segment.startswith("{") else re.escape(segment)


def _names_of(query: str | None) -> tuple[str, ...]:
    return tuple(query.split(",")) if query else ()
