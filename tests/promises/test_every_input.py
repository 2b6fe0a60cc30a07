"""Every route of the published contract, met by addresses, queries and headers that are malformed, odd or too large.

In `make test` each operation meets a tenth of it, the next operation the next tenth; all of it when proving.
"""

import json
from typing import Any, Final

import pytest

from tests.effort import turns
from tests.worlds.operations import ENTRIES, MISSING, OPERATIONS, Scene
from tests.worlds.scenes import Ledger, each, names_in, turn_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
