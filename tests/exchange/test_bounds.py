"""What an answer may hold at most, and the few rules that need no schema to be seen."""

import asyncio
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import pytest
from starlette.types import Message, Scope

from exchange import app
from exchange.answers import AnswerFilter, Released
from exchange.element_states import AnswerRefused, Release
from exchange.requests import MOST_BYTES, RequestRefused, UwlrRequest, parse_request
from exchange.settings import ExchangeSettings
from exchange.uwlr import UWLR, Call, Expected
from tests.effort import share
from tests.exchange.conftest import CUSTOMERS
from tests.exchange.peers.invented import BRIN, SCHOOLJAAR, enveloped
from tests.exchange.peers.raw import verzoek

EXPECTED = Expected(SCHOOLJAAR, BRIN, None, None, "2.3")
RELEASE: Release = {
    "school": frozenset({"schooljaar", "brincode"}),
    "groep": frozenset({"@key", "naam", "jaargroep", "samengestelde_groep/@key", "samengestelde_groep/naam"}),
    "leerling": frozenset(
        {"@eckid", "@key", "roepnaam", "groep/@key", "samengestelde_groepen/samengestelde_groep/@key"}
    ),
    "docent": frozenset({"@eckid", "@key", "groepen/groep/@key", "groepen/groep/rol"}),
}
PUPIL = '<leerling key="l1"><roepnaam>Noor</roepnaam></leerling>'


def answer(groups: str = "", pupils: str = PUPIL, teachers: str = "", more: str = "") -> bytes:
    school = f"<school><schooljaar>{SCHOOLJAAR}</schooljaar><brincode>{BRIN}</brincode></school>"
    teachers = f"<leerkrachten>{teachers}</leerkrachten>" if teachers else ""
    return enveloped(
        f'<leerlinggegevens_antwoord xmlns="{UWLR}"><leerlinggegevens>{school}{more}<groepen>{groups}</groepen>'
        f"<leerlingen>{pupils}</leerlingen>{teachers}</leerlinggegevens></leerlinggegevens_antwoord>"
    )


def released(content: bytes, release: Release = RELEASE) -> str:
    filtering = AnswerFilter(Call.ALL, EXPECTED, release)
    for start in range(0, len(content), 10_000):
        filtering.feed(content[start : start + 10_000])
    return b"".join(filtering.close()).decode()


def group(key: str, year: str = "4") -> str:
    return f'<groep key="{key}"><naam>Groep {key}</naam><jaargroep>{year}</jaargroep></groep>'


def pupil_in(key: str) -> str:
    return f'<leerling key="l1"><roepnaam>Noor</roepnaam><groep key="{key}"/></leerling>'


def test_a_reference_to_a_group_that_is_dropped_is_dropped() -> None:
    content = answer(group("4a") + group("4b", "geen"), pupil_in("4a") + pupil_in("4b"))
    text = released(content)
    assert text.count('<groep key="4a"') == 2
    assert "4b" not in text


def test_a_reference_that_comes_before_its_group_is_judged_by_it() -> None:
    content = answer(pupils=pupil_in("4a") + pupil_in("4c"))
    late = content.replace(b"<groepen></groepen>", b"").replace(
        b"</leerlingen>", f"</leerlingen><groepen>{group('4a')}</groepen>".encode()
    )
    text = released(late)
    assert text.count('key="4a"') == 2
    assert "4c" not in text
    assert text.index("<groepen>") < text.index("<leerlingen>")


@pytest.mark.parametrize(
    "inside",
    [
        "<roepnaam>Noor</roepnaam><roepnaam>Noor</roepnaam>",
        '<groep key="4a"/><groep key="4a"/>',
        "<samengestelde_groepen/><samengestelde_groepen/>",
    ],
    ids=["a field", "the group", "the groups"],
)
def test_an_answer_that_says_something_of_a_pupil_twice_is_refused(inside: str) -> None:
    with pytest.raises(AnswerRefused, match="twice"):
        released(answer(group("4a"), f'<leerling key="l1">{inside}</leerling>'))


def test_a_list_of_pupils_without_pupils_is_no_answer() -> None:
    """The schema requires the section where a call asks for pupils; where it asks for teachers it does not."""
    for call, has_data in ((Call.PUPILS, False), (Call.TEACHERS, True)):
        school = f"<school><schooljaar>{SCHOOLJAAR}</schooljaar><brincode>{BRIN}</brincode></school>"
        content = f'<{call}_antwoord xmlns="{UWLR}"><{call.data}>{school}</{call.data}></{call}_antwoord>'
        filtering = AnswerFilter(call, EXPECTED, RELEASE)
        filtering.feed(enveloped(content))
        assert filtering.close().has_data is has_data


def test_a_pupils_own_key_goes_only_without_an_eck_id() -> None:
    pupils = '<leerling key="l1" eckid="https://eck.example/1"/><leerling key="l2"/>'
    text = released(answer(pupils=pupils))
    assert 'eckid="https://eck.example/1" key="https://eck.example/1"' in text
    assert "l1" not in text
    assert 'key="l2"' in text
    without = {**RELEASE, "leerling": RELEASE["leerling"] - {"@eckid"}}
    assert "l1" not in released(answer(pupils=pupils), without)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a field", answer(pupils=f'<leerling key="l1"><roepnaam>{"a" * 100_000}</roepnaam></leerling>')),
        ("a dropped comment", answer(more=f"<!--{'a' * 600_000}-->")),
        ("a key", answer(pupils=f'<leerling key="{"a" * 600_000}"/>')),
        ("names", answer(more="".join(f"<a{number}/>" for number in range(6_000)))),
        ("a namespace", answer(more=f'<a xmlns="urn:{"a" * 1_000}"/>')),
        ("attributes", answer(more="<a " + " ".join(f'a{number}=""' for number in range(100)) + "/>")),
        ("depth", answer(more="<a>" * 100 + "</a>" * 100)),
        (
            "groups of one pupil",
            answer(
                '<samengestelde_groep key="s"><naam>S</naam></samengestelde_groep>',
                '<leerling key="l1"><samengestelde_groepen>'
                + '<samengestelde_groep key="s"/>' * 1_001
                + "</samengestelde_groepen></leerling>",
            ),
        ),
        (
            "roles of one teacher",
            answer(
                group("4a"),
                teachers=f'<leerkracht key="t"><groepen><groep key="4a">{"<rol>LRK</rol>" * 101}</groep></groepen>'
                "</leerkracht>",
            ),
        ),
    ],
)
def test_more_than_any_answer_needs_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(AnswerRefused):
        released(content)


LONG: Final = "a" * 120_000
NAMES: Final = "".join(f"<b{number}/>" for number in range(3_000))
ATTRIBUTES: Final = " ".join(f'p:a{number}=""' for number in range(3_000))


@pytest.mark.parametrize(
    "content",
    [
        f'<a xmlns="{LONG}">{"<b/>" * 30_000}</a>',
        f'<a xmlns="{LONG}">{NAMES}</a>',
        f'<a xmlns:p="{LONG}" {ATTRIBUTES}/>',
        f'<a xmlns:p="{LONG[:7_000]}" {ATTRIBUTES}/>',
        f'<a xmlns="{LONG[:7_000]}">{"<b/>" * 30_000}</a>',
    ],
    ids=["one name", "names", "attributes", "attributes, less long", "one name, less long"],
)
def test_a_namespace_does_not_make_a_small_message_large(content: str) -> None:
    """The parser writes it out before every name: a request of 256 KiB would become gigabytes, and take seconds."""
    assert len(content) < MOST_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(RequestRefused, match="too long"):
            parse_request(content.encode())
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_what_is_dropped_takes_no_memory() -> None:
    def pieces() -> Iterator[bytes]:
        start, _, end = answer().partition(b"<leerlingen>")
        yield start + b"<onbekend>"
        for _number in range(200):
            yield b"<x y='z'>" + b"tekst " * 5_000 + b"</x>"
        yield b"</onbekend><leerlingen>" + end

    assert _most_memory(pieces()) < 2_000_000


def test_large_things_do_not_wait_for_one_another() -> None:
    """What is held in memory is one of them, also where a LAS has many in a row."""
    names = "".join(f"<{name}>{'a' * length}</{name}>" for name, length in (("achternaam", 200), ("roepnaam", 64)))
    groups = f'<groep key="4a">{"<rol>LRK</rol>" * 100}</groep>' * 200

    def pieces() -> Iterator[bytes]:
        start, _, end = answer(group("4a")).partition(b"</leerlinggegevens></leerlinggegevens_antwoord>")
        yield start + b"<leerkrachten>"
        for number in range(share(40, 16)):
            yield f'<leerkracht key="{number}">{names}<groepen>{groups}</groepen></leerkracht>'.encode()
        yield b"</leerkrachten></leerlinggegevens></leerlinggegevens_antwoord>" + end

    assert _most_memory(pieces(), is_read_whole=False) < 5_000_000


def test_many_things_that_are_none_too_large_do_not_wait_for_one_another_either() -> None:
    groups = '<groep key="4a"><rol>LRK</rol></groep>' * 600

    def pieces() -> Iterator[bytes]:
        start, _, end = answer(group("4a")).partition(b"</leerlinggegevens></leerlinggegevens_antwoord>")
        yield start + b"<leerkrachten>"
        for number in range(60):
            yield f'<leerkracht key="{number}"><groepen>{groups}</groepen></leerkracht>'.encode()
        yield b"</leerkrachten></leerlinggegevens></leerlinggegevens_antwoord>" + end

    assert _most_memory(pieces(), is_read_whole=False) < 1_500_000


def _most_memory(pieces: Iterable[bytes], *, is_read_whole: bool = True) -> int:
    tracemalloc.start()
    try:
        filtering = AnswerFilter(Call.ALL, EXPECTED, RELEASE)
        for piece in pieces:
            filtering.feed(piece)
        found = iter(filtering.close())
        assert b"Noor" in (b"".join(found) if is_read_whole else b"".join(islice(found, 8)))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class _Knowing(app.ReleaseLayer):
    """A release layer to which everyone is known, and which has an answer at once."""

    async def _released(self, scope: Scope, asked: UwlrRequest) -> tuple[str, Released]:
        async with self._turn():
            filtering = AnswerFilter(Call.ALL, EXPECTED, RELEASE)
            filtering.feed(answer())
            self.answer = filtering.close()
            return BRIN, self.answer


def _settings(**seconds: float) -> ExchangeSettings:
    return ExchangeSettings.model_validate({"upstream": "http://las", "manager": "http://manager", **seconds})


async def _asked(layer: app.ReleaseLayer, *, reads: bool) -> list[Message]:
    """What is sent to one who asks, and who reads it, or nothing of what is not its head."""
    request = {"type": "http.request", "body": verzoek("leerlinggegevens", CUSTOMERS["allesrijk"])}
    sent: list[Message] = []

    async def receive() -> Message:
        if "body" in request:
            return {"type": request["type"], "body": request.pop("body")}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body") and not reads:
            await asyncio.Event().wait()

    await asyncio.wait_for(layer({"type": "http", "method": "POST", "headers": []}, receive, send), 5)
    return sent


async def test_an_answer_that_is_not_read_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then it takes room on disk, however many there are of them: to read nothing costs who asks nothing."""
    read = await _asked(_Knowing(_settings()), reads=True)
    assert read[0]["status"] == 200
    assert not read[-1].get("more_body", False)
    monkeypatch.setattr(app, "SENDING_SECONDS", 0.05)
    for settings in (_settings(), _settings(transfer_deadline=0.02)):
        layer = _Knowing(settings)
        sent = await _asked(layer, reads=False)
        assert sent[-1]["more_body"], "it was not ended as if it were whole"
        with pytest.raises(ValueError, match="closed"):
            b"".join(layer.answer)


async def test_who_waits_for_others_gets_a_fault_in_time() -> None:
    layer = _Knowing(_settings(most_transfers=1, upstream_deadline=0.05))
    async with layer._turn():
        sent = await _asked(layer, reads=True)
        assert b"Server.TijdelijkNietBeschikbaar" in sent[-1]["body"]
    assert (await _asked(layer, reads=True))[0]["status"] == 200
