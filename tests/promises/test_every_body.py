"""Every route of the published contract that takes a body, met by what is malformed, odd or too large.

In `make test` each operation meets a tenth of it, the next operation the next tenth; all of it when proving.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest

from tests.effort import turns
from tests.worlds.bodies import gateway_question
from tests.worlds.operations import ENTRIES, OPERATIONS, Scene, scene_in
from tests.worlds.scenes import MEGABYTE, Ledger, each, turn_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

Place = tuple[str | int, ...]


def leaves(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value in a body that holds no other, and every list, with its place."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, dict):
        yield at, value
    for name, member in members:
        yield from leaves(member, (*at, name))


def replaced(body: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    changed = deepcopy(body)
    parent: Any = changed
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = value
    return changed


NOT_A_BODY: Final[dict[str, bytes]] = {
    "no JSON": b"not json",
    "cut short": b'{"a": ',
    "a list": b"[]",
    "a list of an object": b"[{}]",
    "a number": b"1",
    "a text": b'"text"',
    "true": b"true",
    "not a number": b"NaN",
    "more than one": b"{} {}",
    "a comment": b"/* */ {}",
    "single quotes": b"{'a': 1}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "bytes that are not UTF-8": b'{"a": "\xff\xfe"}',
    "an overlong character": b'{"a": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"\xed\xa0\x80": 1}',
    "a NUL": b"\x00",
    "a NUL after it": b"{}\x00",
    "100,000 brackets": b"[" * 100_000,
    "10,000 objects deep": b'{"a":' * 10_000,
    "10,000 objects deep and closed": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a number of 10,000 digits": b"1" * 10_000,
    "a form": b"a=b&c=d",
}


@each(lambda operation: operation.has_body)
async def test_what_is_no_json_object_is_400(name: str, ours: Scene) -> None:
    operation, ledger = OPERATIONS[name], Ledger()
    for what, content in turns(NOT_A_BODY.items(), turn_of(name)):
        wanted = (413,) if len(content) > operation.most_bytes else (400,)
        await ledger.expect(wanted, what, ours.call(operation, content=content))
    if not ENTRIES[name].body_is_optional:
        await ledger.expect((400,), "nothing", ours.call(operation, content=b""))
        await ledger.expect((400,), "null", ours.call(operation, content=b"null"))
    ledger.close()


@each(lambda operation: operation.has_body)
async def test_a_body_in_another_encoding_than_utf_8_is_400(name: str, ours: Scene) -> None:
    text = json.dumps(ENTRIES[name].body(ours))  # type: ignore[misc]
    ledger = Ledger()
    for encoding in turns(("utf-16", "utf-16-le", "utf-32-le", "utf-8-sig"), turn_of(name)):
        await ledger.expect((400,), encoding, ours.call(OPERATIONS[name], content=text.encode(encoding)))
    ledger.close()


@each(lambda operation: operation.has_body)
async def test_a_body_of_two_megabytes_is_413(name: str, ours: Scene) -> None:
    operation, ledger = OPERATIONS[name], Ledger()
    body = ENTRIES[name].body(ours)  # type: ignore[misc]
    bodies = {
        "in a member": json.dumps({**body, "x": "x" * 2 * MEGABYTE}).encode(),
        "of spaces": json.dumps(body).encode() + b" " * 2 * MEGABYTE,
    }
    for what, content in turns(bodies.items(), turn_of(name)):
        await ledger.expect((413,), what, ours.call(operation, content=content))
        await ledger.expect((413,), f"{what}, in pieces", ours.call(operation, content=_pieces(content)))
    ledger.close()


@each(lambda operation: operation.has_body and not operation.on_hook)
async def test_more_members_than_any_body_has_are_400_before_they_are_parsed(name: str, ours: Scene) -> None:
    """Each would cost a look at the schema and a line of errors, also of who has no token at all."""
    body, ledger = ENTRIES[name].body(ours), Ledger()  # type: ignore[misc]
    bodies = {
        "members": json.dumps({**body, **{f"x{number}": 0 for number in range(60_000)}}).encode(),
        "a list": json.dumps({**body, "x": [0] * 300_000}).encode(),
        "brackets": json.dumps(body).encode() + b"[" * 900_000,
        "objects": json.dumps({**body, "x": [{}] * 200_000}).encode(),
    }
    for what, content in turns(bodies.items(), turn_of(name)):
        answer = await ours.call(OPERATIONS[name], content=_pieces(content))
        await ledger.expect((400,), what, asyncio.sleep(0, answer))
        assert "too many members" in answer.text, what
    ledger.close()


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 16_384):
        yield content[start : start + 16_384]


@each(lambda operation: operation.has_body and not operation.on_hook)
async def test_another_content_type_than_json_is_400(name: str, ours: Scene) -> None:
    ledger = Ledger()
    kinds = (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "",
        None,
        "garbage",
        "text/json",
        "application/json-seq",
    )
    for kind in turns(kinds, turn_of(name)):
        call = ours.call(OPERATIONS[name], headers={"Content-Type": kind})
        await ledger.expect((400,), f"content type {kind!r}", call)
    ledger.close()


#: What no member may be, whichever it is.
NEVER: Final[dict[str, Any]] = {
    "an object": {"x": 1},
    "a list of lists": [[[]]],
    "a lone surrogate": "\ud800",
    "a huge number": 10**400,
    "a huge negative number": -(10**25),
    "100,000 elements": ["x"] * 100_000,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "nested": json.loads("[" * 300 + "]" * 300),
}

#: What no member of ours may be; the hook takes any text as a name that it doesn't know.
NEVER_OURS: Final[dict[str, Any]] = {
    **NEVER,
    "false": False,
    "a NUL": "a\0b",
    "a NUL alone": "\0",
    "an escape": "\x1b[2J",
    "a C1 control": "a\x85b",
    "a delete": "a\x7fb",
    "empty": "",
    "too long": "x" * 20_000,
}


@each(lambda operation: operation.has_body)
async def test_a_member_that_cannot_be_is_400(name: str, ours: Scene) -> None:
    operation, ledger = OPERATIONS[name], Ledger()
    body = ENTRIES[name].body(ours)  # type: ignore[misc]
    for place, was in leaves(body):
        if "properties" in place[:2] and place[0] != "resource":
            continue  # AuthZEN leaves to the caller what stands here
        for what, value in turns((NEVER if operation.on_hook else NEVER_OURS).items(), turn_of(name, place)):
            if isinstance(was, bool) and isinstance(value, bool):
                continue
            content = json.dumps(replaced(body, place, value)).encode()
            wanted = _wanted(name, place, content)
            await ledger.expect(wanted, f"{place} is {what}", ours.call(operation, content=content))
    ledger.close()


def _wanted(name: str, place: Place, content: bytes) -> tuple[int, ...]:
    if OPERATIONS[name].on_hook and len(content) > OPERATIONS[name].most_bytes:
        return (413,)
    if name == "evaluateMany" and place[0] != "options":
        return (200, 400)  # AuthZEN: an evaluation that is malformed is answered in its place
    return (400,)


@each(lambda operation: operation.has_body)
async def test_odd_values_in_a_member_are_never_an_error_of_the_service(name: str, ours: Scene) -> None:
    operation, ledger = OPERATIONS[name], Ledger()
    scene = _spare.pop(ours.world.folder, None) or await scene_in(ours.world)
    body = ENTRIES[name].body(scene)  # type: ignore[misc]
    moments = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31", "2026-02-30T00:00:00Z",
               "2026-09-02T00:00:00", "2026-09-02T00:00:60Z", "1e400", "99999999999999999999")  # fmt: skip
    bad_texts = (
        *moments,
        "\u202e\u2066",
        "\uffff",
        "\U0001f600" * 5,
        "' OR 1=1 --",
        "../../etc",
        "%00",
        "${x}",
        "\ufeff",
    )
    bad: tuple[Any, ...] = (*bad_texts, 0, 1, True, -1, 1.5, 2**31, 2**53 + 1, 2**63, 2**64, None, [], [None], [""])
    for place, was in leaves(body):
        for value in turns(bad, turn_of(name, place)):
            if value != was:
                content = json.dumps(replaced(body, place, value)).encode()
                call = scene.call(operation, content=content)
                await ledger.expect(_ODD_ANSWERS[operation.on_hook], f"{place} is {value!r}", call)
    ledger.close()
    if operation.on_hook or ledger.nothing_was_done():
        _spare[ours.world.folder] = scene


#: For each world a scene of which nothing has changed yet.
_spare: Final[dict[Path, Scene]] = {}


_ODD_ANSWERS: Final = {True: (200, 400, 503), False: (200, 201, 400, 404, 409)}


@pytest.mark.parametrize("name", ["grant", "amendGrant", "suspendGrant", "registerAgreement", "recordGroundRule"])
async def test_a_moment_is_rfc_3339_and_no_number(name: str, ours: Scene) -> None:
    ledger, body = Ledger(), ENTRIES[name].body(ours)  # type: ignore[misc]
    for member in {"validFrom", "validUntil", "until"} & set(body):
        for value in (1_800_000_000, 1_800_000_000_000, "1800000000", 1.8e9, "2027-01-01", "2027-01-01T00:00:00"):
            content = json.dumps({**body, member: value}).encode()
            await ledger.expect((400,), f"{member} is {value!r}", ours.call(OPERATIONS[name], content=content))
    ledger.close()


@each(lambda operation: operation.has_body and not operation.on_hook)
async def test_a_member_that_is_unknown_or_there_twice_is_400(name: str, ours: Scene) -> None:
    operation, ledger = OPERATIONS[name], Ledger()
    text = json.dumps(ENTRIES[name].body(ours))  # type: ignore[misc]
    first = json.loads(text).popitem()[0]
    members = {
        "an unknown member": '"unknown": 1',
        "an empty name": '"": 1',
        "a name with a NUL": '"a\\u0000": 1',
        "a name that is a lone surrogate": '"\\ud800": 1',
        "a name of 100,000 characters": f'"{"n" * 100_000}": 1',
        "a member's name in Python": f'"{_snake(first)}": {json.dumps(json.loads(text)[first])}',
        "a prototype": '"__proto__": {}, "constructor": {}',
        "a member twice": f'"{first}": {json.dumps(json.loads(text)[first])}',
    }
    for what, member in turns(members.items(), turn_of(name)):
        content = f"{text[:-1]}, {member}}}".encode()
        await ledger.expect((400,), what, ours.call(operation, content=content))
    many = ", ".join(f'"m{number}": 0' for number in range(50_000))
    await ledger.expect((400,), "50,000 members", ours.call(operation, content=f"{text[:-1]}, {many}}}".encode()))
    ledger.close()


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


async def test_the_hook_ignores_members_that_authzen_does_not_name(ours: Scene) -> None:
    content = json.dumps({**gateway_question(ours), "unknown": {"\0": ["\ud7ff"]}}).encode()
    answer = await ours.call(OPERATIONS["evaluate"], content=content)
    assert answer.json()["decision"] is True


async def test_more_evaluations_than_a_batch_may_hold_are_400(ours: Scene) -> None:
    ledger, operation = Ledger(), OPERATIONS["evaluateMany"]
    for count, wanted in ((1_000, 200), (1_001, 400), (100_000, 400)):
        content = json.dumps({**gateway_question(ours), "evaluations": [{}] * count}).encode()
        await ledger.expect((wanted,), f"{count} evaluations", ours.call(operation, content=content))
    ledger.close()


@pytest.mark.parametrize("bulk", ["subject", "resource"])
async def test_a_large_default_costs_a_batch_its_size_once(bulk: str, ours: Scene) -> None:
    """Decoded for each of 1,000 evaluations, this megabyte held every other decision up for nine seconds."""
    batch = {**gateway_question(ours), "evaluations": [{}] * 1_000}
    many = ["y"] * 180_000
    properties = {"x": many} if bulk == "subject" else {"scopes": many}
    batch[bulk] = {**batch[bulk], "properties": properties}
    before = time.perf_counter()
    answer = await ours.call(OPERATIONS["evaluateMany"], content=json.dumps(batch).encode())
    assert answer.status_code == 200
    assert len(answer.json()["evaluations"]) == 1_000
    assert all(each["decision"] is (bulk == "subject") for each in answer.json()["evaluations"])
    assert time.perf_counter() - before < 2
