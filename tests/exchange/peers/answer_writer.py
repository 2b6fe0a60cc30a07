"""Writes invented answers as XML."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape, quoteattr

UWLR: Final = "http://www.edustandaard.nl/leerresultaten/2/leerlinggegevens"
SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"


@dataclass
class Element:
    """An element to write; an attribute's name in a namespace is written `{namespace}name`."""

    name: str
    content: "str | list[Element]" = ""
    attributes: dict[str, str] = field(default_factory=dict)
    namespace: str = UWLR


class Writer:
    """Writes elements as a LAS might: with or without prefixes, comments, CDATA and references to characters."""

    def __init__(self, chance: random.Random, plant: Callable[..., str], clean: bool) -> None:
        self._chance = chance
        self._plant = plant
        self._clean = clean
        self._prefix = "" if chance.random() < 0.5 else chance.choice(("lg", "ns0", "soapy"))

    def written(self, element: Element) -> str:
        declared = f'xmlns:{self._prefix}="{UWLR}"' if self._prefix else f'xmlns="{UWLR}"'
        return self._element(element, f' {declared} xmlns:xsi="{XSI}"', top=True)

    def _element(self, element: Element, declared: str = "", *, top: bool = False) -> str:
        name, extra = self._name(element, top=top)
        attributes = "".join(self._attribute(each, value) for each, value in element.attributes.items())
        if isinstance(element.content, str):
            content = self._text(element.content)
        elif not element.content and self._clean:
            content = ""
        else:
            content = self._space().join(["", *map(self._element, element.content), ""])
        if not content and self._chance.random() < 0.5:
            return f"<{name}{declared}{extra}{attributes}/>"
        return f"<{name}{declared}{extra}{attributes}>{content}</{name}>"

    def _name(self, element: Element, *, top: bool) -> tuple[str, str]:
        if element.namespace == UWLR:
            if not top and not self._clean and self._chance.random() < 0.1:
                return f"p1:{element.name}", f' xmlns:p1="{UWLR}"'
            return (f"{self._prefix}:{element.name}" if self._prefix else element.name), ""
        if element.namespace == "":
            return element.name, "" if self._prefix else ' xmlns=""'
        return f"vr:{element.name}", f' xmlns:vr="{element.namespace}"'

    def _attribute(self, name: str, value: str) -> str:
        namespace, _, local = name.removeprefix("{").rpartition("}")
        quoted = quoteattr(value)
        if namespace == "":
            return f" {local}={quoted}"
        if namespace == XSI:
            return f" xsi:{local}={quoted}"
        prefix = "at" if namespace == UWLR else "vr"
        return f' xmlns:{prefix}="{namespace}" {prefix}:{local}={quoted}'

    def _space(self) -> str:
        if self._clean or self._chance.random() < 0.7:
            return self._chance.choice(("", "\n  "))
        return f"<!-- {self._plant('a comment', never=True)} <achternaam>x</achternaam> -->"

    def _text(self, value: str) -> str:
        way = self._chance.random()
        if not value or way < 0.4:
            return escape(value)
        if way < 0.6:
            return "<![CDATA[" + value.replace("]]>", "]]]]><![CDATA[>") + "]]>"
        middle = len(value) // 2
        first, second = value[:middle], value[middle:]
        if way < 0.8 or self._clean:
            return f"{escape(first)}&#x{ord(second[0]):x};{escape(second[1:])}"
        return f"{escape(first)}<!--{self._plant('a comment in a value', never=True)}-->{escape(second)}"
