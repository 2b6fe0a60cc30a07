"""Every grant that a school may give, for every call, of clean and of unclean answers: what comes out is right."""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Final

import pytest

from exchange.answers import AnswerFilter, Released
from exchange.uwlr import Call, Expected
from tests.effort import sample
from tests.exchange import oracle
from tests.exchange.peers.invented import CALLS, CallName, Invented, invented
from tests.exchange.subsets import EVERYTHING, TYPE_OF_CALL, release_of, subsets

CHUNKS = (64_000, 1_000, 17, 1)


def _is_released(field: str, of_type: str, release: oracle.Release) -> bool:
    return field in release[of_type]


#: Of each field of each type, whether a grant releases it: a sample of the grants has it both ways.
RELEASED_OR_NOT: Final[list[Callable[[oracle.Release], bool]]] = [
    partial(_is_released, field, kind) for kind, fields in release_of(EVERYTHING).items() for field in sorted(fields)
]


@lru_cache
def answer(call: CallName, seed: int, clean: bool) -> Invented:
    return invented(call, seed=seed, clean=clean, groups=1 + seed % 2, pupils=5, teachers=3)


def expectation(source: Invented, xsdversie: str) -> Expected:
    return Expected(
        schooljaar=source.schooljaar,
        brincode=source.brincode,
        dependancecode=source.dependancecode,
        schoolkey=None,
        xsdversie=xsdversie,
    )


def released(source: Invented, release: oracle.Release, xsdversie: str = "2.2", chunk: int = 64_000) -> Released:
    filtering = AnswerFilter(Call(source.call), expectation(source, xsdversie), release)
    for start in range(0, len(source.content), chunk):
        filtering.feed(source.content[start : start + chunk])
    return filtering.close()


def releases(call: CallName) -> Iterator[oracle.Release]:
    """What each grant lets through, each once. Without the type that a call is about, the flow refuses it before."""
    seen = set()
    for scopes in subsets():
        release = release_of(scopes)
        if (
            release[TYPE_OF_CALL[call]]
            and (known := json.dumps({k: sorted(v) for k, v in release.items()})) not in seen
        ):
            seen.add(known)
            yield release


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "unclean"])
@pytest.mark.parametrize("call", CALLS)
@oracle.needs_standard
def test_every_grant_releases_all_of_it_and_nothing_else(call: CallName, clean: bool) -> None:
    for number, release in enumerate(sample(releases(call), *RELEASED_OR_NOT, part=0.2)):
        source = answer(call, number % 5, clean)
        versions = ("2.2", "2.3") if "geboortedatum" in release["leerling"] else (("2.3", "2.2")[number % 2],)
        for xsdversie in versions:
            # One byte at a time is slow: it gets its turn with small answers.
            chunk = CHUNKS[number % 4] if len(source.content) < 20_000 else CHUNKS[number % 3]
            content = b"".join(released(source, release, xsdversie, chunk))
            assert oracle.findings(source, release, content, xsdversie) == [], (release, xsdversie, content.decode())


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "unclean"])
@pytest.mark.parametrize("call", CALLS)
@oracle.needs_standard
def test_every_field_is_released_for_itself(call: CallName, clean: bool) -> None:
    """Grants go by scopes of several fields; the release layer looks at each field, whichever scope brings it."""
    source, everything = answer(call, 3, clean), release_of(EVERYTHING)
    for kind, fields in everything.items():
        for field in fields - {"@key", "@eckid", "samengestelde_groep/@key"}:
            # A group without a name is none, and an answer is always of a school.
            if kind in {"groep", "school"}:
                continue
            without = {**everything, kind: fields - {field}}
            assert oracle.findings(source, without, b"".join(released(source, without))) == [], (kind, field)


@pytest.mark.parametrize("call", CALLS)
def test_what_was_dropped_is_counted_by_name_and_never_by_value(call: CallName) -> None:
    source = answer(call, 0, clean=False)
    release = release_of(EVERYTHING)
    out = released(source, release)
    b"".join(out)
    names = "\n".join(out.dropped)
    assert not [planted for planted in source.planted if planted.marker in names]
    for planted in source.planted:
        kind, _, field = planted.path.partition(".")
        # What stands inside something that was dropped needs no count of its own.
        if planted.never and (kind, field) in oracle.NEVER_RELEASED:
            assert any(field in name for name in out.dropped), planted


@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_dropped_of_a_clean_answer_that_is_granted_as_a_whole(call: CallName) -> None:
    out = released(answer(call, 1, clean=True), release_of(EVERYTHING))
    b"".join(out)
    # But the key of a pupil, where the ECK iD takes its place.
    assert all("key" in name for name in out.dropped), out.dropped


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "unclean"])
def test_the_entities_that_were_let_through_are_counted(clean: bool) -> None:
    out = released(answer("leerlinggegevens", 1, clean), release_of(EVERYTHING))
    b"".join(out)
    assert (out.counts["leerling"], out.counts["leerkracht"] or out.counts["docent"]) == (5, 3)


@pytest.mark.parametrize("call", CALLS)
def test_what_is_released_does_not_depend_on_how_the_answer_arrives(call: CallName) -> None:
    source, release = answer(call, 2, clean=False), release_of(EVERYTHING)
    assert len({b"".join(released(source, release, chunk=chunk)) for chunk in (*CHUNKS, 3, 4096)}) == 1
