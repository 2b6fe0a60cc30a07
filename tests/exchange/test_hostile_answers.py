"""Answers that are wrong, or meant to do harm: of most nothing is released, of the others nothing beyond the grant."""

import time
import tracemalloc
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from exchange.answers import AnswerFilter
from exchange.element_states import AnswerRefused
from exchange.uwlr import Call, Expected
from tests.exchange import oracle
from tests.exchange.peers.invented import BRIN, CALLS, SCHOOLJAAR, UWLR, CallName, enveloped, exception_answer
from tests.exchange.peers.large_answers import FORBIDDEN, GRANTABLE, Large
from tests.exchange.peers.las import SECRET, Behaviour, Request, answer_to
from tests.exchange.peers.las_faults import FAULTY_CONTENT, ODD_CONTENT
from tests.exchange.peers.test_las import verzoek
from tests.exchange.subsets import EVERYTHING, release_of

ALL_FIELDS = release_of(EVERYTHING)
LITTLE = release_of({"school.basis", "leerling.pseudoniem", "docent.pseudoniem"})

_AS_USUAL: Mapping[str, str | None] = {}


def _content(behaviour: Behaviour, request: Request) -> bytes:
    """What the filter is fed of an answer that HTTP brings as it should."""
    reply = behaviour(request)
    assert (reply.status, reply.length) == ("200 OK", None)
    assert {name for name, _ in reply.headers} <= {"Content-Type"}
    assert isinstance(reply.body, bytes)
    return reply.body


def _released(
    call: CallName, chunks: Iterable[bytes], release: oracle.Release, asked: Mapping[str, str | None] = _AS_USUAL
) -> bytes:
    wanted: dict[str, Any] = {"brincode": BRIN, "dependancecode": None, "schoolkey": None, **asked}
    expectation = Expected(schooljaar=SCHOOLJAAR, xsdversie="2.2", **wanted)
    filtering = AnswerFilter(Call(call), expectation, release)
    for chunk in chunks:
        filtering.feed(chunk)
    return b"".join(filtering.close())


def _pieces(content: bytes) -> list[bytes]:
    return [content[start : start + 5_000] for start in range(0, len(content), 5_000)]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", FAULTY_CONTENT)
def test_nothing_is_released_of_an_answer_that_is_wrong(name: str, call: CallName) -> None:
    content = _content(FAULTY_CONTENT[name], Request("POST", "/", {}, verzoek(call)))
    for pieces in ([content], _pieces(content)):
        with pytest.raises(AnswerRefused) as refusal:
            _released(call, pieces, ALL_FIELDS)
        assert "zq" not in str(refusal.value), "what is said of an answer says nothing that was in it"


@pytest.mark.parametrize("release", [ALL_FIELDS, LITTLE], ids=["everything", "little"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ODD_CONTENT)
@oracle.needs_standard
def test_nothing_beyond_the_grant_is_released_of_an_odd_answer(
    name: str, call: CallName, release: oracle.Release
) -> None:
    request = Request("POST", "/", {}, verzoek(call))
    content = _content(ODD_CONTENT[name], request)
    begun = time.perf_counter()
    try:
        released = _released(call, _pieces(content), release)
    except AnswerRefused:
        pass
    else:
        assert SECRET.encode() not in released
        assert oracle.breaches(answer_to(request), release, released) == []
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["geenwijzigingen", "geengegevens"])
def test_that_there_is_nothing_passes(name: str, call: CallName) -> None:
    content = exception_answer(call, name)  # type: ignore[arg-type]
    released = _released(call, [content], LITTLE)
    assert oracle.etree.tostring(oracle.etree.fromstring(released)[0][0], method="c14n") == (
        f'<{call}_antwoord xmlns="{UWLR}"><{name}></{name}></{call}_antwoord>'.encode()
    ) or (f"{name}/>".encode() in released and b"zq" not in released)


@pytest.mark.parametrize("call", CALLS)
def test_that_there_is_nothing_carries_nothing(call: CallName) -> None:
    """An attribute, an element or a text on the way is no way around the filter."""
    for inside in (f"<bsn>{SECRET}</bsn>", SECRET, f"<!--{SECRET}-->"):
        content = enveloped(
            f'<{call}_antwoord xmlns="{UWLR}" a="{SECRET}"><geengegevens b="{SECRET}">{inside}</geengegevens>'
            f"</{call}_antwoord>"
        )
        try:
            released = _released(call, [content], ALL_FIELDS)
        except AnswerRefused:
            continue
        assert SECRET.encode() not in released


def _school(fields: str) -> bytes:
    inner = f"<school>{fields}</school>"
    return enveloped(
        f'<structuur_antwoord xmlns="{UWLR}"><leerlinggegevens-structuur>{inner}</leerlinggegevens-structuur>'
        "</structuur_antwoord>"
    )


_YEAR = f"<schooljaar>{SCHOOLJAAR}</schooljaar>"


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        (f"{_YEAR}<brincode>16SW</brincode>", {}),
        (f"{_YEAR}<brincode>16SW</brincode><dependancecode>00</dependancecode>", {}),
        (f"{_YEAR}<brincode>16SW</brincode>", {"dependancecode": "00"}),
        (f"{_YEAR}<brincode>16SW</brincode><dependancecode>00</dependancecode>", {"dependancecode": "00"}),
        (f"{_YEAR}<brincode>16SW</brincode><dependancecode/>", {"dependancecode": "00"}),
        (f"{_YEAR}<brincode>16SW</brincode><dependancecode>01</dependancecode>", {"dependancecode": "01"}),
        (f"{_YEAR}<schoolkey>sleutel</schoolkey>", {"schoolkey": "sleutel"}),
        (f"{_YEAR}<schoolkey>sleutel</schoolkey><brincode>16SW</brincode>", {"schoolkey": "sleutel"}),
        (f"{_YEAR}<schoolkey>sleutel</schoolkey><dependancecode/>", {"schoolkey": "sleutel"}),
    ],
)
def test_the_school_that_was_asked_for_is_released(fields: str, asked: dict[str, str | None]) -> None:
    assert SCHOOLJAAR.encode() in _released("structuur", [_school(fields)], LITTLE, asked)


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        (f"{_YEAR}<brincode>16SX</brincode>", {}),
        (f"{_YEAR}<brincode>16sw</brincode>", {}),
        (f"{_YEAR}<brincode>16SW</brincode><dependancecode>01</dependancecode>", {}),
        (f"{_YEAR}<brincode>16SW</brincode><dependancecode>01</dependancecode>", {"dependancecode": "00"}),
        (f"{_YEAR}<brincode>16SW</brincode><dependancecode>02</dependancecode>", {"dependancecode": "01"}),
        (f"{_YEAR}<brincode>16SW</brincode>", {"dependancecode": "01"}),
        (f"{_YEAR}<brincode>16SW</brincode><dependancecode>00</dependancecode>", {"dependancecode": "01"}),
        (f"{_YEAR}<schoolkey>sleutel</schoolkey><brincode>17TX</brincode>", {"schoolkey": "sleutel"}),
        (f"{_YEAR}<schoolkey>sleutel</schoolkey><brincode/>", {"schoolkey": "sleutel"}),
        (f"{_YEAR}<schoolkey>sleutel</schoolkey><dependancecode>01</dependancecode>", {"schoolkey": "sleutel"}),
        (f"{_YEAR}<schoolkey>andere</schoolkey>", {"schoolkey": "sleutel"}),
        (f"{_YEAR}<brincode>16SW</brincode>", {"schoolkey": "sleutel"}),
        (f"{_YEAR}<schoolkey>sleutel</schoolkey>", {}),
        (_YEAR, {}),
        ("<brincode>16SW</brincode>", {}),
        ("<schooljaar/><brincode>16SW</brincode>", {}),
        ("<schooljaar>2025-2026</schooljaar><brincode>16SW</brincode>", {}),
        (f"{_YEAR}<brincode>17TX</brincode><brincode>16SW</brincode>", {}),
        (f"{_YEAR}<brincode>16SW</brincode><brincode>17TX</brincode>", {}),
        (f"{_YEAR}<schooljaar>2025-2026</schooljaar><brincode>16SW</brincode>", {}),
        (f'{_YEAR}<brincode xmlns="urn:elders">16SW</brincode>', {}),
    ],
)
def test_another_school_is_refused(fields: str, asked: dict[str, str | None]) -> None:
    with pytest.raises(AnswerRefused):
        _released("structuur", [_school(fields)], LITTLE, asked)


@pytest.mark.parametrize("call", ["leerlinggegevens", "leerlingen"])
def test_a_large_answer_is_filtered_without_being_held(call: CallName) -> None:
    answer = Large(8, call)
    release = release_of({"school.basis", "leerling.pseudoniem", "leerling.naam"})
    expectation = Expected(schooljaar=SCHOOLJAAR, brincode=BRIN, dependancecode=None, schoolkey=None, xsdversie="2.3")
    tracemalloc.start()
    try:
        filtering = AnswerFilter(Call(call), expectation, release)
        for chunk in answer:
            filtering.feed(chunk)
        pupils, tail = 0, b""
        for chunk in filtering.close():
            window = tail + chunk
            assert FORBIDDEN.encode() not in window
            tail = window[-20:]
            pupils += chunk.count(b"<roepnaam>" + GRANTABLE.encode())
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A name may fall on the border of two chunks.
    assert answer.pupils - 200 < pupils <= answer.pupils
    assert held < 4_000_000


def test_an_answer_is_released_only_when_all_of_it_has_come() -> None:
    """Nothing can be taken back once it was sent: before the end there is nothing to send."""
    content = answer_to(Request("POST", "/", {}, verzoek("leerlingen"))).content
    filtering = AnswerFilter(
        Call("leerlingen"),
        Expected(schooljaar=SCHOOLJAAR, brincode=BRIN, dependancecode=None, schoolkey=None, xsdversie="2.2"),
        ALL_FIELDS,
    )
    filtering.feed(content[:-20])
    with pytest.raises(AnswerRefused):
        filtering.close()
