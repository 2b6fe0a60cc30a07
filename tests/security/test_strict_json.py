"""JSON and base64url that mean one thing: what is still read, and what is just beyond it."""

import base64
import json
from typing import Any

import pytest

from api.security.strict_json import MAX_JSON_DEPTH, Malformed, base64url, strict_object


def nested(depth: int, opening: str, closing: str) -> bytes:
    """An object with so many brackets around each other, its own among them."""
    return f'{{"x":{opening * (depth - 1)}0{closing * (depth - 1)}}}'.encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"y":', "}")])
def test_an_object_is_read_sixteen_deep_and_no_deeper(opening: str, closing: str) -> None:
    assert MAX_JSON_DEPTH == 16
    assert strict_object(nested(16, opening, closing)) == json.loads(nested(16, opening, closing))
    with pytest.raises(Malformed, match="nested too deep"):
        strict_object(nested(17, opening, closing))


def test_brackets_beside_each_other_and_in_texts_are_not_depth() -> None:
    wide = {"lists": [[]] * 40, "text": "[{" * 40, "quoted": '"' + "[" * 40, "backslash": "\\"}
    assert strict_object(json.dumps(wide).encode()) == wide


@pytest.mark.parametrize("number", [0, -1, 9_007_199_254_740_991, -999_999_999_999_999, 0.5, 1.7e308])
def test_a_number_is_read_as_it_is(number: float) -> None:
    found = strict_object(json.dumps({"x": number}).encode())["x"]
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize("text", ["1" * 17, "-1" + "0" * 15, "1e309", "-1e309", "NaN", "Infinity", "-Infinity"])
def test_a_number_out_of_range_is_refused(text: str) -> None:
    """An integer takes sixteen characters at most, its sign among them: a double has no more digits."""
    with pytest.raises(Malformed, match="a number out of range"):
        strict_object(f'{{"x":{text}}}'.encode())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"x":1,"x":1}', "a member twice"),
        (b'{"x":{"y":1,"\\u0079":2}}', "a member twice"),
        (b"[]", "not a JSON object"),
        (b"{", "not JSON in UTF-8"),
        (b'{"x":"\xff"}', "not JSON in UTF-8"),
    ],
)
def test_what_could_mean_two_things_or_nothing_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Malformed) as refused:
        strict_object(data)
    assert str(refused.value) == why


@pytest.mark.parametrize(
    "data", [bytes([0, 255, 254]), b"k", b"ke", b"key", b"\xfb\xef\xbe", b"\0\0\x17", bytes(range(256))]
)
def test_base64url_is_read_in_its_one_spelling(data: bytes) -> None:
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert base64url(text) == data


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not base64url"),
        ("A", "not base64url"),
        ("AAAAA", "not base64url"),
        ("a2V5=", "not base64url"),
        ("a2U=", "not base64url"),
        ("+/+/", "not base64url"),
        ("a2V5\n", "not base64url"),
        ("AB", "not canonical base64url"),
        ("AAB", "not canonical base64url"),
    ],
)
def test_another_spelling_of_base64url_is_refused(text: str, why: str) -> None:
    with pytest.raises(Malformed) as refused:
        base64url(text)
    assert str(refused.value) == why


def test_an_object_of_nothing_is_read() -> None:
    empty: dict[str, Any] = {}
    assert strict_object(b"{}") == empty
