"""The scopes: named, field-level sets of UWLR data, read as data from `catalogue/scopes.json`.

Fields are named as in UWLR, relative to the entity's element; those of `samengestelde_groep` carry its name
in front. `leerkracht` is UWLR's word for docent. Source: UWLR 2.2 and 2.3, profile Smalle set.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Final, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

from models.vocabulary.refusals import ScopeDependencyMissing, UnknownScope

ResourceType = Literal["school", "vestiging", "groep", "leerling", "docent"]
DataClass = Literal["organisatie", "persoonsgegeven", "bijzonder/gevoelig", "beeldmateriaal", "nationaal-nummer"]

RESOURCE_TYPES: Final[tuple[ResourceType, ...]] = get_args(ResourceType)

_T = TypeVar("_T")

_LONGEST_QUOTE: Final = 64
# Stored grants use few distinct sets of scopes. Input of callers must be checked before it reaches this cache.
_CACHE: Final = 4096


@dataclass(frozen=True)
class Scope:
    """One scope. For each set in `needs`, it requires at least one scope of that set.

    `conditions` maps a field that is not always released to when it is; in Dutch, for the school's admin.
    """

    name: str
    type: ResourceType
    description: str
    fields: tuple[str, ...]
    needs: tuple[frozenset[str], ...]
    conditions: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Catalogue:
    """One version of the catalogue. `scopes` keeps the file's order, which all ordered answers follow.

    `fields` maps (type, field) to the scopes that release it; `never_released` maps every other field of UWLR
    to the class of data that it is.
    """

    version: str
    scopes: Mapping[str, Scope]
    profiles: Mapping[str, frozenset[str]]
    fields: Mapping[tuple[str, str], frozenset[str]]
    never_released: Mapping[tuple[str, str], DataClass]


def require_known(names: Iterable[str]) -> None:
    """Raises `UnknownScope`, naming each of `names` that is not a scope.

    The message names a field that is never released (compared without case) with its class of data.
    """
    unknown = [name for name in dict.fromkeys(names) if name not in CATALOGUE.scopes]
    if unknown:
        raise UnknownScope("; ".join(_why_unknown(name) for name in unknown))


def require_dependencies(scopes: Iterable[str]) -> None:
    """Raises `ScopeDependencyMissing`, naming each scope and what it lacks, or first `UnknownScope`."""
    asked = frozenset(scopes)
    require_known(sorted(asked))
    incomplete = [scope for name, scope in CATALOGUE.scopes.items() if name in asked and not _holds(scope, asked)]
    if incomplete:
        raise ScopeDependencyMissing(". ".join(_what_is_missing(scope, asked) for scope in incomplete))


@lru_cache(maxsize=_CACHE)
def closed(scopes: frozenset[str]) -> frozenset[str]:
    """The largest subset of `scopes` in which every scope has what it needs. Unknown names are dropped.

    The result is unique: no scope needs the absence of another, so the union of two closed subsets is closed.
    """
    kept = scopes & CATALOGUE.scopes.keys()
    while True:
        holding = frozenset(name for name in kept if _holds(CATALOGUE.scopes[name], kept))
        if holding == kept:
            return holding
        kept = holding


@lru_cache(maxsize=_CACHE)
def scopes_of_type(scopes: frozenset[str], resource_type: str) -> tuple[str, ...]:
    """The names in `scopes` that concern `resource_type`, in catalogue order. Unknown names are dropped."""
    return tuple(name for name, scope in CATALOGUE.scopes.items() if name in scopes and scope.type == resource_type)


@lru_cache(maxsize=_CACHE)
def fields_of(scopes: frozenset[str], resource_type: str) -> tuple[str, ...]:
    """The fields of `resource_type` that `scopes` release, in catalogue order, each once.

    Dependencies are not checked: apply `closed` first where they may not hold.
    """
    names = scopes_of_type(scopes, resource_type)
    return tuple(dict.fromkeys(released for name in names for released in CATALOGUE.scopes[name].fields))


def scopes_releasing(resource_type: str, field_name: str) -> frozenset[str] | None:
    """The scopes that release this field, or None for a field that is unknown or never released."""
    return CATALOGUE.fields.get((resource_type, field_name))


def catalogue_from(content: str | bytes) -> Catalogue:
    """Parses a catalogue. Raises `ValueError`, naming every inconsistency."""
    file = _File.model_validate_json(content)
    problems = list(_problems(file))
    if problems:
        raise ValueError("the scope catalogue is inconsistent: " + "; ".join(problems))
    return Catalogue(
        version=file.version,
        scopes=MappingProxyType({scope.name: scope for scope in file.scopes}),
        profiles=MappingProxyType({name: frozenset(listed) for name, listed in file.profiles.items()}),
        fields=MappingProxyType(_releasing(file.scopes)),
        never_released=MappingProxyType({(never.type, never.field): never.class_ for never in file.never_released}),
    )


def _holds(scope: Scope, beside: frozenset[str]) -> bool:
    return not any(alternatives.isdisjoint(beside) for alternatives in scope.needs)


def _why_unknown(name: str) -> str:
    data_class = _class_never_released(name)
    if data_class is None:
        return f"{_quoted(name)} is no scope of the catalogue"
    return f"{_quoted(name)} is a UWLR field ({data_class}) that is never released"


def _class_never_released(name: str) -> DataClass | None:
    element, _, field_name = name.casefold().partition(".")
    if element == "samengestelde_groep":
        return CATALOGUE.never_released.get(("groep", f"{element}/{field_name}"))
    return CATALOGUE.never_released.get(("docent" if element == "leerkracht" else element, field_name))


def _quoted(name: str) -> str:
    # repr() makes control characters visible: the message ends up in logs and terminals.
    return repr(name if len(name) <= _LONGEST_QUOTE else name[:_LONGEST_QUOTE] + "…")


def _what_is_missing(scope: Scope, asked: frozenset[str]) -> str:
    missing = [alternatives for alternatives in scope.needs if alternatives.isdisjoint(asked)]
    return f"{scope.name} needs {_all_of(scope.needs)}; missing: {_all_of(missing)}"


def _all_of(needs: Iterable[frozenset[str]]) -> str:
    in_order = ([name for name in CATALOGUE.scopes if name in alternatives] for alternatives in needs)
    return " and ".join(" or ".join(names) for names in in_order)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, str_min_length=1)


class _NeverReleased(_Part):
    type: ResourceType
    field: str
    class_: DataClass = Field(alias="class")


class _File(_Part):
    version: str
    profiles: dict[str, list[str]]
    scopes: list[Scope] = Field(min_length=1)
    never_released: list[_NeverReleased] = Field(alias="neverReleased")


def _releasing(scopes: Iterable[Scope]) -> dict[tuple[str, str], frozenset[str]]:
    releasing: dict[tuple[str, str], frozenset[str]] = {}
    for scope in scopes:
        for name in scope.fields:
            key = (scope.type, name)
            releasing[key] = releasing.get(key, frozenset()) | {scope.name}
    return releasing


def _problems(file: _File) -> Iterator[str]:
    names = [scope.name for scope in file.scopes]
    yield from (f"{name} is defined twice" for name in repeated(names))
    for scope in file.scopes:
        yield from _problems_of_scope(scope, frozenset(names))
    for profile, listed in file.profiles.items():
        yield from _problems_of_profile(profile, listed, file.scopes)
    yield from _problems_of_never_released(file)


def _problems_of_scope(scope: Scope, known: frozenset[str]) -> Iterator[str]:
    if not scope.name.startswith(f"{scope.type}."):
        yield f"{scope.name} is not named after its type, {scope.type}"
    if not scope.fields:
        yield f"{scope.name} releases nothing"
    yield from (f"{scope.name} lists {name} twice" for name in repeated(scope.fields))
    for name in sorted(scope.conditions.keys() - set(scope.fields)):
        yield f"{scope.name} has a condition on {name}, which it does not release"
    for alternatives in scope.needs:
        if not alternatives:
            yield f"{scope.name} needs one of nothing"
        yield from (f"{scope.name} needs {name}, which is no scope" for name in sorted(alternatives - known))


def _problems_of_profile(profile: str, listed: list[str], scopes: list[Scope]) -> Iterator[str]:
    by_name = {scope.name: scope for scope in scopes}
    yield from (f"{profile} lists {name} twice" for name in repeated(listed))
    for name in listed:
        if name not in by_name:
            yield f"{profile} lists {name}, which is no scope"
        elif not _holds(by_name[name], frozenset(listed)):
            yield f"{profile} lists {name} without what it needs"


def _problems_of_never_released(file: _File) -> Iterator[str]:
    released = _releasing(file.scopes)
    never = [(entry.type, entry.field) for entry in file.never_released]
    for resource_type, name in repeated(never):
        yield f"{name} of {resource_type} is listed twice as never released"
    for resource_type, name in never:
        if (resource_type, name) in released:
            yield f"{name} of {resource_type} is listed as never released, yet a scope releases it"


def repeated(values: Iterable[_T]) -> list[_T]:
    """The values that occur more than once, each once."""
    return [value for value, times in Counter(values).items() if times > 1]


CATALOGUE: Final = catalogue_from((resources.files("models") / "catalogue" / "scopes.json").read_bytes())
