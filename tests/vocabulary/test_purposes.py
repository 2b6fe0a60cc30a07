"""The catalogue of purposes: its file, invalid files, and unknown purposes."""

import json
import re

import pytest

from models.vocabulary.purposes import PURPOSES, PURPOSES_VERSION, Purpose, purposes_from, require_known
from models.vocabulary.refusals import UnknownPurpose

A_PURPOSE = {"code": "een-doel", "title": "Een doel", "description": "Waarvoor het dient."}


def file(*purposes: dict[str, str]) -> str:
    return json.dumps({"version": "1", "source": "van ons", "purposes": purposes})


def test_every_purpose_of_the_list_is_known() -> None:
    require_known(PURPOSES)


def test_the_list_carries_its_version() -> None:
    assert re.fullmatch(r"\d{4}\.\d+", PURPOSES_VERSION)


@pytest.mark.parametrize("purpose", PURPOSES.values(), ids=PURPOSES.keys())
def test_a_purpose_says_in_one_line_what_it_is_for(purpose: Purpose) -> None:
    assert PURPOSES[purpose.code] is purpose
    assert purpose.title
    assert purpose.description.endswith(".")
    assert "\n" not in purpose.description


def test_a_refusal_names_each_unknown_purpose_and_no_known_one() -> None:
    with pytest.raises(UnknownPurpose) as refusal:
        require_known(["reclame", "wettelijke-plicht", "Wettelijke-Plicht"])
    assert "'reclame', 'Wettelijke-Plicht'" in refusal.value.detail
    assert "'wettelijke-plicht'" not in refusal.value.detail


def test_an_over_long_purpose_is_truncated_in_the_refusal() -> None:
    with pytest.raises(UnknownPurpose) as refusal:
        require_known(["x" * 10_000])
    assert len(refusal.value.detail) < 200


@pytest.mark.parametrize(
    "content",
    [
        file(),
        file(A_PURPOSE, A_PURPOSE),
        file(A_PURPOSE | {"code": "Een Doel"}),
        file(A_PURPOSE | {"title": ""}),
        file(A_PURPOSE | {"unknown": "key"}),
        "{}",
    ],
    ids=["no purpose", "twice the same code", "no kebab-case code", "no title", "an unknown key", "no list"],
)
def test_an_inconsistent_list_does_not_load(content: str) -> None:
    with pytest.raises(ValueError):
        purposes_from(content)
