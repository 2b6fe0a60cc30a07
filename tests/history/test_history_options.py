"""What the commands about the past are given: options that make no sense, keys, revisions, and no store at all."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.commands import run, run_script
from tests.history.history_commands import QUESTIONS, Desk, command, words_of, written
from tests.worlds.world import START

GOOD: Final = {"--client-id": "rekenrijk", "--place": "16SW00", "--type": "leerling"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"--client-id": "x" * 9_999},
        {"--client-id": "\x1b[31m"},
        {"--client-id": ""},
        {"--place": "16sw00"},
        {"--place": "16SW00\n"},
        {"--place": "x" * 99_999},
        {"--type": "leer\x07ling"},
        {"--type": "l" * 41},
        {"--scope": "s" * 65},
        {"--scope": "\x9b2J"},
        {"--field": ""},
        {"--purpose": "\u0085"},
        {"--at": "gisteren"},
        {"--at": "2026-09-02"},
        {"--at": "1756713600"},
        {"--at": "2026-09-01T08:00:00"},
        {"--at": "0001-01-01T00:00:00+23:59"},
        {"--revision": "0"},
        {"--revision": "-1"},
        {"--revision": "9" * 5_000},
        {"--revision": "twee"},
    ],
    ids=lambda given: str(given)[:60],
)
def test_an_option_that_makes_no_sense_is_refused_without_its_value(export: Path, wrong: dict[str, str]) -> None:
    words = ["replay", *(word for pair in (GOOD | wrong).items() for word in pair)]
    ((option, value),) = wrong.items()
    for said in (command(*words), command(*words, "--export", str(export))):
        assert (said.is_a_refusal, said.status) == (True, 2), said
        assert option in said.err
        assert len(value) < 3 or value not in said.err
        assert not [sign for sign in said.err if not (sign.isprintable() or sign == "\n")]


def test_a_key_is_one_and_is_of_an_export(export: Path, log_key: str) -> None:
    for words in (words_of(QUESTIONS[0]), ["changes"]):
        assert command(*words, "--key", log_key).status == 2
        for wrong in ("x+y", "", "\x1b", "k" * 9_999, log_key[:-4]):
            said = command(*words, "--export", str(export), "--key", wrong)
            assert (said.is_a_refusal, said.status, "--key" in said.err) == (True, 2, True), said


async def test_a_revision_is_of_an_instant_at_which_it_was_the_newest(desk: Desk) -> None:
    """Of a revision before a revocation, as of now, the answer would be a yes that nobody was given."""
    world = desk.world
    given = await world.granted()
    granted = world.clock.advance(hours=1)
    await world.step(given["grantId"], "revoke")
    revoked = world.clock.now
    now = world.clock.advance(hours=1)
    await desk.write()
    revision = given["revision"]

    async def asked(**more: Any) -> list[tuple[int, str]]:
        """By the operators' API, the school's, at the store and of an export: how it ended, and what was said."""
        then = QUESTIONS[0] | {name: written(at) if name == "at" else at for name, at in more.items()}
        query = {name: value for name, value in then.items() if name != "place"}
        headers = {"Authorization": f"Bearer {world.token('operator')}"}
        answers = [await world.client.get("/v1/replay", params=then, headers=headers)]
        headers = {"Authorization": f"Bearer {world.token('school', school='16SW')}"}
        answers.append(await world.client.get("/v1/schools/16SW/replay", params=query, headers=headers))
        said = [await ask(*words_of(then), "--json") for ask in (desk.of_store, desk.of_export)]
        return [
            *((each.status_code, each.text) for each in answers),
            *((each.status, each.out + each.err) for each in said),
        ]

    for statuses, why, more in (
        ([400, 400, 2, 2], "revision needs at", {"revision": revision}),
        ([400, 400, 1, 1], "was not the newest at this instant", {"revision": revision, "at": now}),
        ([400, 400, 1, 1], "which is later than at", {"revision": revision, "at": START - timedelta(seconds=1)}),
        ([400, 400, 1, 1], "which is later than at", {"revision": revision + 1, "at": granted - timedelta(minutes=1)}),
    ):
        answers = await asked(**more)
        assert [status for status, _ in answers] == statuses, answers
        assert all(why in said for _, said in answers), answers
    # Until the revocation was committed, decisions were still of the revision before it.
    for at in (granted, revoked + timedelta(seconds=1)):
        assert all('"decision":true' in said for _, said in await asked(revision=revision, at=at))
    assert all('"decision":false' in said for _, said in await asked(revision=revision + 1, at=revoked))
    assert all('"decision":false' in said for _, said in await asked(at=now))


async def test_a_revision_that_there_is_not_is_refused(desk: Desk) -> None:
    await desk.write()
    words = [*words_of(QUESTIONS[0]), "--at", written(desk.world.clock.now), "--revision", "9999"]
    for said in (await desk.of_store(*words), await desk.of_export(*words)):
        assert (said.is_a_refusal, said.err) == (True, "privacy-manager: There is no such revision.\n")


async def test_what_the_catalogue_does_not_know_is_a_no(desk: Desk) -> None:
    await desk.write()
    for wrong in ({"--type": "ouder"}, {"--scope": "leerling.hobby"}, {"--field": "schoenmaat"}):
        words = ["replay", *(word for pair in (GOOD | wrong).items() for word in pair)]
        for said in (await desk.of_store(*words), await desk.of_export(*words)):
            assert (said.status, said.out.splitlines()[0]) == (0, "no: unknown_scope"), said


@pytest.mark.parametrize(
    "wrong",
    [
        ["--since", "gisteren"],
        ["--until", "x" * 9_999],
        ["--school", "16SW00"],
        ["--brin", "\x1b[0m"],
        ["--client-id", "Rekenrijk"],
        ["--since", "2026-09-02T00:00:00Z", "--until", "2026-09-01T00:00:00Z"],
    ],
    ids=lambda given: str(given)[:60],
)
def test_a_period_that_makes_no_sense_is_refused(export: Path, wrong: list[str]) -> None:
    for said in (command("changes", *wrong), command("changes", *wrong, "--export", str(export))):
        assert said.is_a_refusal, said


def test_the_commands_end_with_a_sentence_as_a_user_runs_them(tmp_path: Path) -> None:
    asked = ["replay", *(word for pair in GOOD.items() for word in pair)]
    missing = str(tmp_path / "nergens.jsonl")
    for words in (asked, ["changes"], [*asked, "--export", missing], ["changes", "--export", missing]):
        refused = run(tmp_path, *words, MODE="test")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("privacy-manager: ")
        assert len(refused.stderr.strip().splitlines()) == 1
    assert run_script(tmp_path, "replay").returncode == 2


def test_an_export_is_asked_where_there_is_no_store_and_no_key(export: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    said = run_script(elsewhere, *words_of(QUESTIONS[0]), "--export", str(export))
    assert (said.returncode, said.stdout.splitlines()[0]) == (0, "no: revoked"), said.stderr
    assert "grant.revoked" in run(elsewhere, "changes", "--export", str(export)).stdout
    assert not list(elsewhere.iterdir()), "nothing was made"
