"""When an issuer's keys are fetched, how long they serve, and what no key is taken from."""

import asyncio
import gzip

import pytest

from api.security.issuers import KeySet
from tests.security.jwks_server import NEW, OLD, Clock, JwksServer, answer, eventually, jwks, trusted
from tests.security.signing_keys import public_members


async def test_keys_are_fetched_when_first_asked_for_and_then_stay_in_memory(keys: KeySet, server: JwksServer) -> None:
    assert keys.present("old") is None
    key = await keys.key("old")
    assert key is not None
    assert (key.kid, key.algorithm, key.jwk) == ("old", "ES256", public_members(OLD.private))
    assert keys.present("old") is key
    assert await keys.key("old") is key
    assert len(server.requests) == 1


async def test_all_who_wait_for_the_keys_share_one_fetch(keys: KeySet, server: JwksServer, clock: Clock) -> None:
    server.open.clear()
    waiting = [asyncio.create_task(keys.key("old")) for _ in range(20)]
    await eventually(lambda: len(server.requests) == 1)
    clock.now += 30
    waiting.append(asyncio.create_task(keys.key("old")))
    await asyncio.sleep(0.05)
    server.open.set()
    found = await asyncio.gather(*waiting)
    assert all(key is not None for key in found)
    assert len(server.requests) == 1


async def test_one_who_gives_up_does_not_end_the_fetch_of_the_others(keys: KeySet, server: JwksServer) -> None:
    server.open.clear()
    impatient, patient = asyncio.create_task(keys.key("old")), asyncio.create_task(keys.key("old"))
    await eventually(lambda: len(server.requests) == 1)
    impatient.cancel()
    server.open.set()
    assert await patient is not None
    assert impatient.cancelled()


async def test_a_rotated_key_is_found_and_the_withdrawn_one_is_gone_at_once(
    keys: KeySet, server: JwksServer, clock: Clock
) -> None:
    await keys.key("old")
    server.says = answer(jwks(NEW))
    clock.now += 30
    assert await keys.key("new") is not None
    assert keys.present("old") is None
    assert await keys.key("old") is None
    assert len(server.requests) == 2


async def test_an_unknown_kid_makes_at_most_one_request_in_thirty_seconds(
    keys: KeySet, server: JwksServer, clock: Clock
) -> None:
    for second in range(61):
        clock.now = 1000 + second
        assert await keys.key(f"unknown-{second}") is None
    assert len(server.requests) == 3


@pytest.mark.parametrize("says", [answer(b"", "500 Internal Server Error"), b"", b"nonsense\r\n\r\n"])
async def test_a_server_that_fails_is_not_asked_more_often(
    says: bytes, keys: KeySet, server: JwksServer, clock: Clock
) -> None:
    server.says = says
    for second in range(61):
        clock.now = 1000 + second
        assert await keys.key("old") is None
    assert len(server.requests) == 3


async def test_keys_are_refreshed_after_ten_minutes_while_nobody_waits(
    keys: KeySet, server: JwksServer, clock: Clock
) -> None:
    await keys.key("old")
    server.says = answer(jwks(OLD, NEW))
    clock.now += 599
    assert await keys.key("old") is not None
    assert len(server.requests) == 1
    server.open.clear()
    clock.now += 1
    assert keys.present("old") is None
    async with asyncio.timeout(0.5):
        assert await keys.key("old") is not None
        await eventually(lambda: len(server.requests) == 2)
        assert await keys.key("old") is not None
    assert keys.present("old") is not None
    server.open.set()
    await eventually(lambda: keys.present("new") is not None)
    assert len(server.requests) == 2


async def test_while_the_server_is_down_keys_serve_for_an_hour_and_no_longer(
    keys: KeySet, server: JwksServer, clock: Clock
) -> None:
    await keys.key("old")
    fetched = clock.now
    server.says = answer(b"", "503 Service Unavailable")
    for second in range(0, 3600, 29):
        clock.now = fetched + second
        assert await keys.key("old") is not None
    clock.now = fetched + 3599.9
    assert await keys.key("old") is not None
    clock.now = fetched + 3600
    assert keys.present("old") is None
    assert await keys.key("old") is None
    server.says = answer(jwks(OLD))
    clock.now += 30
    assert await keys.key("old") is not None


async def test_a_document_without_keys_withdraws_them_all(keys: KeySet, server: JwksServer, clock: Clock) -> None:
    await keys.key("old")
    server.says = answer(jwks())
    clock.now += 600
    await keys.key("old")
    await eventually(lambda: keys.present("old") is None and len(server.requests) == 2)
    clock.now += 1
    assert await keys.key("old") is None


# What a server may answer


@pytest.mark.parametrize(
    "says",
    {
        "another status": answer(jwks(OLD), "201 Created"),
        "no content": answer(b"", "204 No Content"),
        "an error": answer(jwks(OLD), "404 Not Found"),
        "garbage": answer(b"<html>"),
        "a list": answer(b"[]"),
        "no list of keys": answer(b'{"keys":{}}'),
        "nothing": b"",
        "no HTTP": b"SSH-2.0-OpenSSH\r\n",
        "a member twice": answer(jwks(OLD)[:-1] + b',"keys":[]}'),
        "a member of a key twice": answer(jwks(OLD).replace(b'"use"', b'"kid":"x","use"')),
        "UTF-16": answer(jwks(OLD).decode().encode("utf-16")),
        "a number out of range": answer(jwks(OLD)[:-1] + b',"x":1e999}'),
        "nested deep": answer(jwks(OLD)[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "compressed": answer(gzip.compress(jwks(OLD)), "200 OK", "Content-Encoding: gzip"),
        "too many keys": answer(jwks(OLD, *({"kid": str(number)} for number in range(100)))),
        "too large": answer(jwks(OLD) + b" " * 256 * 1024),
        "cut short": answer(jwks(OLD) + b"    ")[:-2],
    }.items(),
    ids=lambda pair: pair[0],
)
async def test_no_key_is_taken_from(says: tuple[str, bytes], keys: KeySet, server: JwksServer) -> None:
    server.says = says[1]
    assert await keys.key("old") is None
    assert len(server.requests) == 1


async def test_a_redirect_is_not_followed(keys: KeySet, server: JwksServer) -> None:
    server.says = answer(b"", "302 Found", f"Location: {server.url}")
    assert await keys.key("old") is None
    assert len(server.requests) == 1


async def test_a_document_without_an_end_is_read_no_further_than_it_may_be_long(
    keys: KeySet, server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.security.issuers.FETCH_SECONDS", 5)
    server.says = [b"HTTP/1.1 200 OK\r\n\r\n"] + [b" " * 64 * 1024] * 1_000
    async with asyncio.timeout(2):
        assert await keys.key("old") is None


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["status", "headers", "body"]
)
async def test_a_server_that_drips_gets_no_more_time_than_one_that_hangs(
    start: bytes, keys: KeySet, server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.security.issuers.FETCH_SECONDS", 0.2)
    drip = b"X-Drip: 1\r\n" if start.count(b"\r\n") == 1 else b" "
    server.says = [start, *[drip] * 1_000]
    async with asyncio.timeout(1):
        assert await keys.key("old") is None


async def test_a_server_that_hangs_is_left_after_the_deadline(
    keys: KeySet, server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.security.issuers.FETCH_SECONDS", 0.2)
    server.open.clear()
    async with asyncio.timeout(1):
        assert await keys.key("old") is None


async def test_a_server_that_is_not_there_gives_no_keys(clock: Clock) -> None:
    keys = KeySet(trusted(jwksUrl="http://127.0.0.1:1/jwks.json"), clock)
    assert await keys.key("old") is None


# Which keys are used
