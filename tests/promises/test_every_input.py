"""Every route of the published contract, met by what is malformed, odd or too large.

In `make test` each operation meets a tenth of it, the next operation the next tenth; all of it when proving.
"""

import json
import time
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest

from tests.effort import turns
from tests.worlds.operations import ENTRIES, MISSING, OPERATIONS, Scene, gateway_question, scene_in
from tests.worlds.scenes import MEGABYTE, Ledger, each, names_in, turn_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


# -- malformed and oversized: the address and the headers -------------------------------------------------------------

BAD_NAMES: Final = {
    "a NUL": "%00",
    "a NUL after it": "{}%00",
    "a newline after it": "{}%0A",
    "a space after it": "{}%20",
    "bytes that are not UTF-8": "%FF%FE",
    "a lone surrogate": "%ED%A0%80",
    "an overlong slash": "%C0%AF",
    "digits of another script": "%D9%A1%D9%A6SW",
    "a quote": "{}'%20OR%201=1--",
    "other capitals": "{}Aa",
    "a percent": "%25",
    "300 characters": "1" * 300,
    "7,000 characters": "x" * 7_000,
    "10,000 characters": "x" * 10_000,
    "a number": "-1",
    "a wildcard": "*",
}


@each(names_in)
async def test_a_malformed_name_in_the_path_is_400(name: str, ours: Scene) -> None:
    operation, ledger = OPERATIONS[name], Ledger()
    for parameter in names_in(operation):
        for what, bad in turns(BAD_NAMES.items(), turn_of(name, parameter)):
            text = bad.format(MISSING[parameter])
            path = ours.path(operation, **{parameter: text})
            # A schoolkey may have capitals: it is another one then.
            wanted = (404,) if (parameter, what) == ("schoolkey", "other capitals") else (400,)
            await ledger.expect(wanted, f"{parameter} with {what}", ours.call(operation, path))
    upwards = {"a path upwards": "..%2f..%2fetc", "a slash": "%2F", "nothing": ""}
    for what, bad in turns(upwards.items(), turn_of(name)):
        path = ours.path(operation, **{names_in(operation)[-1]: bad})
        await ledger.expect((400, 404, 405), what, ours.call(operation, path))
    ledger.close()


NO_NUMBERS: Final = ("x", "", "-1", "0x10", "1e9", "1.5", "9" * 400, "NaN", "%00", "1%00", "%FF", "%ED%A0%80", "null")
#: Around what a store, JSON or a machine can count to.
LARGE_NUMBERS: Final = [2**power + more for power in (31, 53, 63, 64) for more in (-1, 0, 1)]
LONG: Final = "x" * 5_000
ODD_QUERIES: Final = ("", "%00", "a%0Ab", "%FF", "%ED%A0%80", "%E2%80%AE", "'--", "9" * 100, "%F0%9F%98%80")


@each(lambda operation: operation.parameters("query"))
async def test_a_malformed_query_is_400(name: str, ours: Scene) -> None:
    operation, ledger = OPERATIONS[name], Ledger()
    query = ENTRIES[name].query
    valid = query(ours) if query is not None else ""
    for parameter, schema in operation.parameters("query").items():
        described = json.dumps(schema)
        is_number = '"integer"' in described
        # Beside what the query must hold, so that nothing else makes it malformed.
        beside = "&".join(each for each in valid.split("&") if each and not each.startswith(f"{parameter}="))
        turn = turn_of(name, parameter)
        for value in turns(NO_NUMBERS if is_number else (LONG,), turn):
            path = f"{ours.path(operation)}?{beside}&{parameter}={value}"
            await ledger.expect((400,), path[-80:], ours.call(operation, path))
        # A revision that the store has not reached is no fault of the caller's.
        large = {"minRevision": (400, 503), "since": (400, 410)}.get(parameter, (200, 400, 404))
        for number in turns(LARGE_NUMBERS if is_number else (), turn):
            path = f"{ours.path(operation)}?{beside}&{parameter}={number}"
            await ledger.expect(large, path, ours.call(operation, path))
        for value in turns(ODD_QUERIES, turn):
            wanted = (400,) if value in ("%00", "a%0Ab") and "pattern" in described else (200, 400)
            path = f"{ours.path(operation)}?{beside}&{parameter}={value}"
            await ledger.expect(wanted, path, ours.call(operation, path))
        path = f"{ours.path(operation)}?{beside}&" + "&".join([f"{parameter}=1"] * 400)
        # What must be named may be named so that there is no such thing.
        there_or_not = (200, 400, 404) if f"{parameter}=" in valid else (200, 400)
        await ledger.expect(there_or_not, f"{parameter} 400 times", ours.call(operation, path))
    ledger.close()


@each(lambda operation: "limit" in operation.parameters("query"))
async def test_a_limit_or_a_cursor_that_makes_no_sense_is_400(name: str, ours: Scene) -> None:
    operation, ledger = OPERATIONS[name], Ledger()
    query = ENTRIES[name].query
    valid = f"{ours.path(operation)}?{query(ours) if query is not None else ''}"
    turn = turn_of(name)
    for limit in turns(("0", "501", "-1", "2147483648", "9223372036854775808"), turn):
        await ledger.expect((400,), f"limit {limit}", ours.call(operation, f"{valid}&limit={limit}"))
    for cursor in turns(("!", "A", "AAAAA", "_w", "AA", "AAo", "x" * 201, "w4k", "MTI==", "%00", "Cg", "f38"), turn):
        path = f"{valid}&cursor={cursor}"
        await ledger.expect((400,), f"cursor {cursor[:10]}", ours.call(operation, path))
    odd_cursors = ("MQ", "OTk5OTk5OTk5", "OTk5OTk5OTk5OTk5", "YWFh", "LTE", "MQo", "4pmg", "J09SIDE9MS0t")
    for cursor in turns(odd_cursors, turn):
        path = f"{valid}&cursor={cursor}"
        await ledger.expect((200, 400), f"cursor {cursor}", ours.call(operation, path))
    for limit in ("1", "500"):
        await ledger.expect((200,), f"limit {limit}", ours.call(operation, f"{valid}&limit={limit}"))
    ledger.close()


async def test_a_revision_that_no_store_can_reach_is_never_an_error_of_the_service(ours: Scene) -> None:
    ledger, token = Ledger(), ours.token("partner")
    for number, since, least in (
        (2**31 - 1, 410, 503),
        (2**31, 400, 503),
        (2**53, 400, 503),
        (2**53 + 1, 400, 400),
        (2**64, 400, 400),
    ):
        for path, wanted in (
            (f"/v1/consents/changes?since={number}", since),
            (f"/v1/consents?school=16SW&minRevision={number}", least),
        ):
            await ledger.expect((wanted,), path, ours.world.call("GET", path, token))
    ledger.close()


BAD_KEYS: Final = ("", " ", "x" * 256, "x" * 10_000, "a b", "a\tb", "caf\u00e9", "\u00ff", "a\x7f")


@each(lambda operation: "idempotency-key" in operation.parameters("header"))
async def test_a_malformed_idempotency_key_is_400(name: str, ours: Scene) -> None:
    ledger = Ledger()
    for bad in turns(BAD_KEYS, turn_of(name)):
        headers = {"Idempotency-Key": bad.encode("latin-1")}
        await ledger.expect((400,), f"key {bad[:9]!r}", ours.call(OPERATIONS[name], headers=headers))
    ledger.close()


@each(lambda operation: operation.method == "PATCH")
async def test_an_amendment_needs_the_version_that_was_read(name: str, ours: Scene) -> None:
    operation, ledger = OPERATIONS[name], Ledger()
    await ledger.expect((428,), "none", ours.call(operation, headers={"If-Match": None}))
    versions = (
        '"99"',
        '"0"',
        "1",
        'W/"1"',
        '"1',
        "",
        "garbage",
        '"1", "2',
        "\u00ff",
        "**",
        '"\u0661"'.encode("utf-8"),
    )
    for bad in turns(versions, turn_of(name)):
        value = bad.encode("latin-1") if isinstance(bad, str) else bad
        await ledger.expect((412,), f"If-Match {bad!r}", ours.call(operation, headers={"If-Match": value}))
    for size in (256, 10_000):
        await ledger.expect((400,), f"{size} long", ours.call(operation, headers={"If-Match": "x" * size}))
    ledger.close()


@each(lambda operation: "if-match" in operation.parameters("header") and operation.method == "POST")
async def test_a_step_refuses_another_version_than_the_one_it_was_told(name: str, ours: Scene) -> None:
    ledger = Ledger()
    await ledger.expect((412,), "another", ours.call(OPERATIONS[name], headers={"If-Match": '"99"'}))
    await ledger.expect((400,), "too long", ours.call(OPERATIONS[name], headers={"If-Match": "x" * 256}))
    ledger.close()


ODD_HEADERS: Final = (
    ("Host", "["),
    ("Host", "[::1"),
    ("Host", "a:b:c"),
    ("Host", ""),
    ("Host", "x" * 5_000),
    ("Host", "exa mple"),
    ("Accept", "\u00ff"),
    ("X-Request-ID", "x" * 5_000),
    ("traceparent", "garbage"),
    ("Content-Length", "0"),
    ("Cookie", "a=" + "b" * 9_000),
    ("Origin", "null"),
    ("X-Forwarded-Host", "evil.example"),
    ("Range", "bytes=0-"),
    ("Expect", "200-ok"),
)


@each()
async def test_hostile_headers_and_queries_do_no_harm(name: str, ours: Scene) -> None:
    """Nothing that a proxy may pass on makes an error of the service. The bodies are refused, to change nothing."""
    operation, ledger = OPERATIONS[name], Ledger()
    sends = operation.has_body or operation.takes_file
    content = b"[]" if sends else None
    wanted = (400,) if sends else (200, 404) if ENTRIES[name].once else (200,)
    for header, value in turns(ODD_HEADERS, turn_of(name)):
        headers = {header: value.encode("latin-1")}
        await ledger.expect(wanted, f"{header} {value[:9]!r}", ours.call(operation, headers=headers, content=content))
    queries = ("%00", "%FF=%FF", "a=%ED%A0%80", "&&&", "=", "a" * 7_000, "&".join(["a=b"] * 1_500))
    for query in turns(queries, turn_of(name)):
        asked = ENTRIES[name].query
        path = f"{ours.path(operation)}?{f'{asked(ours)}&' if asked is not None else ''}{query}"
        await ledger.expect(wanted, f"?{query[:20]}", ours.call(operation, path, content=content))
    await ledger.expect((400,), "9,000 of query", ours.call(operation, f"{ours.path(operation)}?{LONG}{LONG}"))
    ledger.close()


async def test_a_query_of_bytes_that_no_one_escaped_is_no_error(ours: Scene) -> None:
    """A server may hand on what it got; a client that sends such bytes is told about its body, or served."""
    for name in ("registerPartner", "revokeGrant", "evaluate", "listConsents"):
        operation = OPERATIONS[name]
        sent: list[Any] = []
        body = b"[]" if operation.has_body else b""
        scope = {
            "type": "http",
            "method": operation.method,
            "path": ours.path(operation),
            "raw_path": ours.path(operation).encode(),
            "query_string": b"a=\xff",
            "headers": [
                (b"authorization", f"Bearer {ours.token(ENTRIES[name].roles[0])}".encode()),
                (b"content-type", b"application/json"),
            ],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("test", 80),
        }
        await ours.world.service(scope, _receiving(body), _noting(sent))
        assert sent[0]["status"] in (200, 400)


def _receiving(body: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _noting(sent: list[Any]) -> Any:
    async def send(message: Any) -> None:
        sent.append(message)

    return send


# -- malformed and oversized: the body --------------------------------------------------------------------------------

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
        "of brackets": b"[" * 2 * MEGABYTE,
    }
    for what, content in turns(bodies.items(), turn_of(name)):
        await ledger.expect((413,), what, ours.call(operation, content=content))
        await ledger.expect((413,), f"{what}, in pieces", ours.call(operation, content=_pieces(content)))
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
