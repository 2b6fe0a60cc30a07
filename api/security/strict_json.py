"""Strict JSON and base64url: whatever two parsers could read differently is `Malformed`."""

import base64
import binascii
import json
import math
import re
from typing import Any, Final

MAX_JSON_DEPTH = 16
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
#: Also matches a string without an end, so that no quote is scanned twice: the scan stays linear.
_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET: Final = re.compile(r"[\[\]{}]")


class Malformed(ValueError):
    """Invalid input. The message is short, stable and contains nothing of the input."""


def strict_object(data: bytes) -> dict[str, Any]:
    """Parses `data` as an I-JSON object (RFC 7493): UTF-8, no repeated member, no number out of range.

    Nesting is limited before any recursive parsing. Raises `Malformed`.
    """
    try:
        text = data.decode()
        if _depth(text) > MAX_JSON_DEPTH:
            raise Malformed("nested too deep")
        value = json.loads(
            text, object_pairs_hook=members_once, parse_int=_integer, parse_float=_finite, parse_constant=_finite
        )
    except Malformed:
        raise
    except ValueError:
        raise Malformed("not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value


def base64url(text: str) -> bytes:
    """Decodes canonical base64url text without padding (RFC 7515 2). Raises `Malformed`."""
    if _BASE64URL.fullmatch(text) is None:
        raise Malformed("not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise Malformed("not base64url") from None
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != text:
        raise Malformed("not canonical base64url")
    return data


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(_JSON_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` for `json.loads`. Raises `Malformed` for a repeated member."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a member twice")
    return members


def _integer(text: str) -> int:
    if len(text) > 16:
        raise Malformed("a number out of range")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Malformed("a number out of range")
    return number
