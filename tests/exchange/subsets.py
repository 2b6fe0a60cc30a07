"""Every set of scopes that a school may grant, by the catalogue's own dependencies."""

import json
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Final

_CATALOGUE: Final = json.loads((Path(__file__).parents[2] / "models/catalogue/scopes.json").read_text("utf-8"))
_SCOPES: Final = {scope["name"]: scope for scope in _CATALOGUE["scopes"]}

#: The resource types that an answer of the profile may hold data of.
TYPES: Final = ("school", "groep", "leerling", "docent")

#: Every scope of the older profile, which has the date of birth as well.
EVERYTHING: Final = frozenset(_CATALOGUE["profiles"]["smalle-set@2.2"])

#: The type without which a call isn't answered at all.
TYPE_OF_CALL: Final = {
    "leerlinggegevens": "leerling",
    "structuur": "school",
    "leerlingen": "leerling",
    "leerkrachten": "docent",
}


def subsets(profile: str = "smalle-set@2.2") -> Iterator[frozenset[str]]:
    """Every set of the profile's scopes in which each has what it needs; the empty one too."""
    names = _CATALOGUE["profiles"][profile]
    for size in range(len(names) + 1):
        for chosen in combinations(names, size):
            if all(any(name in chosen for name in one_of) for each in chosen for one_of in _SCOPES[each]["needs"]):
                yield frozenset(chosen)


def release_of(scopes: Iterable[str]) -> dict[str, frozenset[str]]:
    """The fields that these scopes release, by type."""
    chosen = [_SCOPES[name] for name in scopes]
    return {
        kind: frozenset(name for scope in chosen if scope["type"] == kind for name in scope["fields"]) for kind in TYPES
    }
