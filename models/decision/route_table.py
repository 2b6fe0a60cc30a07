"""The route table: which data a request through a gateway is about, by its method and its URI.

One route a line; `#` begins a comment.

    METHODS   TEMPLATE                                        TYPE      PLACE               SCOPES
    GET,HEAD  /las/v1/scholen/{brin}/leerlingen{?page,limit}  leerling  {brin}              leerling.naam
    *         /las/v1/{brin}/{vestiging}/groepen              groep     {brin}{vestiging}

A template is of RFC 6570: `{name}` stands for one whole segment of the path, `{?name,name}` at the end for parameters
of the query. PLACE makes a BRIN4 or BRIN6 of what they stand for; of several, each is a whole BRIN4 or a location's two
digits. Of SCOPES all must be granted; without any, one of the type is enough.

A URI is taken as it was sent, and read in one way only: what another reader could take for another address (an escaped
or doubled slash, a `..`, a `;`, a parameter twice, one that the template does not name) is named by no route.
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
#: What a variable stands for; in the path none of `.` and `..`.
_VALUE: Final = r"[A-Za-z0-9_~.-]{1,128}"
_PATH_VALUE: Final = rf"(?!\.\.?(?:/|$)){_VALUE}"
#: What a variable stands for that makes a place only together with what is beside it: a school, or a location's number.
_PART: Final = re.compile(r"[0-9]{2}(?:[A-Z]{2})?", re.ASCII)
_PLAIN_VALUE: Final = re.compile(_VALUE, re.ASCII)
_QUERY_VALUE: Final = re.compile(r"(?:[\w.~:@,+/-]|%[0-9A-Fa-f]{2}){0,512}", re.ASCII)


class RouteTableInvalid(ValueError):
    """What is wrong with a route table, a line for each."""


class About(NamedTuple):
    """The data that a request is about."""

    resource_type: str
    place: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """One line of the table. `methods` is empty when any will do."""

    line: int
    methods: frozenset[str]
    segments: tuple[str, ...]
    parameters: tuple[str, ...]
    resource_type: str
    place: str
    scopes: tuple[str, ...]
    path: re.Pattern[str]

    def about(self, method: str, path: str, query: str | None) -> About | None:
        """What a request to this address is about; None when it is not of this route."""
        found = self.path.fullmatch(path)
        if found is None or (self.methods and method not in self.methods):
            return None
        parameters = self._parameters(query)
        if parameters is None:
            return None
        known = {**parameters, **found.groupdict()}
        parts = [known.get(name) for name in _IN_PLACE.findall(self.place)]
        if None in parts:
            return None
        if not _IN_PLACE.fullmatch(self.place) and not all(_PART.fullmatch(part or "") for part in parts):
            return None
        place = _IN_PLACE.sub(lambda name: known[name[1]], self.place)
        return About(self.resource_type, place, self.scopes)

    def _parameters(self, query: str | None) -> dict[str, str] | None:
        """The query's parameters, each named by the template and there once; else None."""
        found: dict[str, str] = {}
        for each in query.split("&") if query is not None else ():
            name, equals, value = each.partition("=")
            if not equals or name not in self.parameters or name in found or not _QUERY_VALUE.fullmatch(value):
                return None
            if f"{{{name}}}" in self.place and not _PLAIN_VALUE.fullmatch(value):
                return None
            found[name] = value
        return found

    def meets(self, other: "Route") -> bool:
        """Whether some request is of both routes."""
        if self.methods and other.methods and self.methods.isdisjoint(other.methods):
            return False
        if len(self.segments) != len(other.segments):
            return False
        pairs = zip(self.segments, other.segments, strict=True)
        return all(one == another or "{" in (one[:1], another[:1]) for one, another in pairs)


@dataclass(frozen=True)
class RouteTable:
    """Routes of which no two name the same request."""

    routes: tuple[Route, ...] = ()

    @classmethod
    def read(cls, text: str) -> "RouteTable":
        """The table that this text describes. Raises `RouteTableInvalid` naming each line that is wrong, and why."""
        routes: list[Route] = []
        wrong: list[str] = []
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            reasons = list(_reasons_against(words))
            wrong += [f"line {number}: {reason}" for reason in reasons]
            if not reasons:
                routes.append(_route(number, words))
        for one, another in combinations(routes, 2):
            if one.meets(another):
                wrong.append(f"line {another.line}: a request can be of line {one.line} as well")
        if wrong:
            raise RouteTableInvalid("\n".join(wrong))
        return cls(tuple(routes))

    def about(self, method: str, target: str) -> About | None:
        """What a request is about; None when no route names it. `target` is its URI's path and query, as sent."""
        if len(target) > MOST_TARGET_CHARACTERS:
            return None
        path, mark, query = target.partition("?")
        for route in self.routes:
            if (about := route.about(method, path, query if mark else None)) is not None:
                return about
        return None


def _reasons_against(words: list[str]) -> Iterator[str]:
    """Why these are no route."""
    if len(words) < 4:
        yield "a route is METHODS TEMPLATE TYPE PLACE and, if any, SCOPES"
        return
    methods, template, resource_type, place, *scopes = words
    if not _METHODS.fullmatch(methods):
        yield f"{methods!r} is no list of methods: `GET,HEAD`, or `*`"
    found = _TEMPLATE.fullmatch(template)
    if found is None:
        yield f"{template!r} is no template: a path, `{{name}}` for a segment, and `{{?name,name}}` at the end"
    else:
        yield from _reasons_against_template(found["path"], _names_of(found["query"]), place)
    if resource_type not in RESOURCE_TYPES:
        yield f"{resource_type!r} is no type: {', '.join(RESOURCE_TYPES)}"
    for name in scopes:
        scope = CATALOGUE.scopes.get(name)
        if scope is None or scope.type != resource_type:
            yield f"{name!r} is no scope of {resource_type}"
    yield from (f"{name} stands there twice" for name in repeated(scopes))


def _reasons_against_template(path: str, parameters: tuple[str, ...], place: str) -> Iterator[str]:
    variables = []
    for segment in path.split("/")[1:]:
        found = _SEGMENT.fullmatch(segment)
        if found is None or segment in (".", ".."):
            yield f"{segment!r} is no segment: letters, digits and -._~:@,+= as they are, or a whole `{{name}}`"
        elif found["name"]:
            variables.append(found["name"])
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
