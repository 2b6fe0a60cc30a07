"""Replaces characters that are invisible or that a terminal would obey."""

import re
from typing import Final

#: Characters that begin another line or column.
BREAKS: Final = re.compile(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
#: Invisible characters, by category: spaces, controls and format characters.
UNSEEN: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})


def printable(text: str) -> str:
    """The text as one line, with non-printable characters escaped."""
    return "".join(sign if sign.isprintable() else f"\\u{{{ord(sign):x}}}" for sign in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))
