"""The purposes (doelbindingen) that a school may grant data for, read as data from `catalogue/purposes.json`.

They follow the Convenant Digitale Onderwijsmiddelen en Privacy; the codes and the wording are ours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from models.vocabulary.refusals import UnknownPurpose

_LONGEST_QUOTE: Final = 64


@dataclass(frozen=True)
class Purpose:
    """One purpose. `code` is stable and published; the texts are Dutch, for the school's admin."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z]+(-[a-z]+)*$")]
    title: str
    description: str


def require_known(codes: Iterable[str]) -> None:
    """Raises `UnknownPurpose`, naming each of `codes` that is not on the list."""
    unknown = [code for code in dict.fromkeys(codes) if code not in PURPOSES]
    if unknown:
        named = ", ".join(_quoted(code) for code in unknown)
        raise UnknownPurpose(f"not on the list of purposes, version {PURPOSES_VERSION}: {named}")


def purposes_from(content: str | bytes) -> tuple[str, Mapping[str, Purpose]]:
    """Parses a list of purposes. Returns its version and its purposes by code. Raises `ValueError` if inconsistent."""
    file = _File.model_validate_json(content)
    purposes = {purpose.code: purpose for purpose in file.purposes}
    if len(purposes) < len(file.purposes):
        raise ValueError("the list of purposes is inconsistent: a code is defined twice")
    return file.version, MappingProxyType(purposes)


def _quoted(code: str) -> str:
    # repr() makes control characters visible: the message ends up in logs and terminals.
    return repr(code if len(code) <= _LONGEST_QUOTE else code[:_LONGEST_QUOTE] + "…")


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, str_min_length=1)

    version: str
    source: str
    purposes: list[Purpose] = Field(min_length=1)


PURPOSES_VERSION, PURPOSES = purposes_from((resources.files("models") / "catalogue" / "purposes.json").read_bytes())
