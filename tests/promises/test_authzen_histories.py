"""Whatever happened, in whatever order: AuthZEN's search finds what its evaluations permit, on both stores."""

import random
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from models.consents.partners import Stage
from models.decision.kept_rules import GroundRuleName
from tests.effort import share
from tests.worlds.histories import History, Tally, history_on, step_of
from tests.worlds.questions import CLIENTS, CODES, OPTIONAL, PLACES, PURPOSES
from tests.worlds.world import BASIS, PURPOSE, Answer, question

STEPS: Final = 60
RENEWED: Final = 15
EVERY: Final = 3
#: What is asked for: a type, and what narrows the question.
WISHES: Final[tuple[dict[str, Any], ...]] = (
    {"resource_type": "leerling"},
    {"resource_type": "leerling", "scopes": ["leerling.naam"], "purpose": PURPOSE},
    {"resource_type": "docent"},
    {"resource_type": "leerling", "fields": ["groep/@key"]},
)


def asked(history: History, path: str, body: dict[str, Any]) -> dict[str, Any]:
    token = history.world.token("gateway")
    answer: Answer = history.do(history.world.call("POST", f"/access/v1/{path}", token, body))
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def found(history: History, searched: str, body: dict[str, Any], limit: int) -> list[str]:
    """All that a search finds, in pages of `limit`."""
    results: list[str] = []
    page: dict[str, Any] = {"limit": limit}
    while True:
        told = asked(history, f"search/{searched}", {**body, "page": page})
        results += [each["id"] for each in told["results"]]
        if not told["page"]["next_token"]:
            return results
        page = {**page, "token": told["page"]["next_token"]}


def compare(history: History, chance: random.Random) -> int:
    """Each search beside the evaluations of all its candidates; how many of them are permitted."""
    wish, limit = chance.choice(WISHES), chance.choice([1, 2, 100])
    questions = {each: question(*each, **wish) for each in product(CLIENTS, PLACES)}
    told = asked(history, "evaluations", {"evaluations": list(questions.values())})["evaluations"]
    permitted = {each for each, answer in zip(questions, told, strict=True) if answer["decision"]}
    for client in CLIENTS:
        places = found(history, "resource", questions[client, PLACES[0]], limit)
        assert places == sorted(place for each, place in permitted if each == client)
    for place in PLACES:
        clients = found(history, "subject", questions[CLIENTS[0], place], limit)
        assert clients == sorted(client for client, each in permitted if each == place)
    for each, about in questions.items():
        results = asked(history, "search/action", about)["results"]
        assert [result["name"] for result in results] == (["release"] if each in permitted else [])
    return len(permitted)


def renew(history: History, chance: random.Random) -> None:
    """What may be permitted soon fades away by chance alone: here it comes back."""
    history.schools_are_imported(set(CODES), "10002")
    history.a_request_changes("rekenrijk", set(OPTIONAL), list(PURPOSES))
    history.the_other_connection_is_registered(set(OPTIONAL), agreed=True)
    for client in CLIENTS:
        for whose in ("partner", "connection"):
            history.an_emergency_stop_comes_or_goes(client, whose, "lift")
        history.the_road_moves(client, Stage.LIVE)
        for rule in GroundRuleName:
            history.a_ground_rule_is_kept(client, rule, None, None)
        history.an_agreement_is_signed(client, [*BASIS, *OPTIONAL], list(PURPOSES), None, None, None, None)
        for place in chance.sample(PLACES, 3):
            history.a_school_grants(client, place, set(chance.sample(OPTIONAL, 4)), list(PURPOSES[:2]), None, None)


@pytest.mark.parametrize("seed", range(1, 1 + share(3)))
def test_whatever_happened_a_search_finds_what_evaluations_permit(store_url: str, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    permitted: set[int] = set()
    with history_on(store_url, tmp_path, Tally()) as history:
        for number in range(STEPS):
            if number % RENEWED == 0:
                renew(history, chance)
            take, named = step_of(chance.randrange(1, 2**48))
            if take is not History.everything_agrees:
                take(history, **named)
            if number % EVERY == 0:
                permitted.add(compare(history, chance))
    assert len(permitted) > 4, "a history in which little is permitted, or always the same, shows little"
