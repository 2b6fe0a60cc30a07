"""Characters that a reader does not see as such."""

import re
from typing import Final

#: What begins another line or column.
BREAKS: Final = re.compile(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
#: By their categories: spaces, controls and marks of format.
UNSEEN: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})


def printable(text: str) -> str:
    """The text in one line, with nothing in it that a terminal would obey."""
    return "".join(sign if sign.isprintable() else f"\\u{{{ord(sign):x}}}" for sign in text)


def printable_lines(text: str) -> str:
    """The same of a text of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))
