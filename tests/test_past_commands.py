"""What was decided then, and what changed: the API, the command at the store and the command with an export agree."""

import asyncio
import json
import random
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from api import evidence_keys
from api.exports import write_export
from tests.asked_of_the_past import Desk, Entries, Said, by_clock, command, entries_in, forged, rewritten
from tests.evidence import keys_of
from tests.histories import Tally, history_on, step_of
from tests.test_cli import run
from tests.world import BASIS, NAMES, PURPOSE, START, World, world_on

#: What is asked: options of the command by the names that they have in the API.
Question = dict[str, Any]
#: What was asked at the door at an instant and a revision, and the answer.
Answered = tuple[datetime, int, Question, dict[str, Any]]

QUESTIONS: Final[tuple[Question, ...]] = (
    {"clientId": "rekenrijk", "place": "16SW", "type": "leerling"},
    {"clientId": "rekenrijk", "place": "16SW00", "type": "leerling", "field": ["achternaam"]},
    {"clientId": "rekenrijk", "place": "16SW01", "type": "leerling", "scope": ["leerling.naam"], "purpose": PURPOSE},
    {"clientId": "taalhuis", "place": "17TX00", "type": "leerling", "field": ["roepnaam", "achternaam"]},
)


def words_of(asked: Question) -> list[str]:
    """The question as options of the command."""
    words = ["replay"]
    for name, value in asked.items():
        option = "--client-id" if name == "clientId" else f"--{name}"
        for each in value if isinstance(value, list) else [value]:
            words += [option, str(each)]
    return words


def written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@pytest.fixture
def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    by_clock(monkeypatch, world.clock)
    return Desk(world, tmp_path / "export.jsonl")


@pytest.fixture
async def lived(desk: Desk) -> list[Answered]:
    """Some life of grants, and what was answered at the door to each question after each step of it."""
    world = desk.world
    answers: list[Answered] = []

    async def asked_at_the_door() -> None:
        for asked in QUESTIONS:
            about = {"scopes": asked.get("scope"), "fields": asked.get("field")}
            purpose = {"purpose": asked["purpose"]} if "purpose" in asked else {}
            answer = (await world.ask(asked["clientId"], asked["place"], **about, **purpose)).json()
            answers.append((world.clock.now, answer["context"]["revision"], asked, answer))
        world.clock.advance(hours=1)

    await world.register()
    await asked_at_the_door()
    given = await world.granted()
    await asked_at_the_door()
    assert (await world.amend(given, scopes=BASIS)).status_code == 200
    await asked_at_the_door()
    await world.granted(location="16SW01", validUntil=written(world.clock.now.replace(hour=23)))
    await world.step(given["grantId"], "suspend")
    await asked_at_the_door()
    await world.operate("POST", "/v1/partners/90000001/_stop", {"reason": "Oefening."})
    await asked_at_the_door()
    await world.operate("POST", "/v1/partners/90000001/_lift", {"reason": "Oefening."})
    await world.register("taalhuis", kvk_number="90000002")
    await world.granted("taalhuis", brin="17TX")
    await asked_at_the_door()
    await world.step(given["grantId"], "revoke")
    await asked_at_the_door()
    return answers


async def test_the_api_the_store_and_an_export_tell_what_was_decided_at_the_door(
    desk: Desk, lived: list[Answered]
) -> None:
    await desk.write()
    decisions = set()
    for moment, revision, asked, answer in lived:
        then = asked | {"at": written(moment), "revision": revision}
        query = {name: value for name, value in then.items() if value is not None}
        headers = {"Authorization": f"Bearer {desk.world.token('operator')}"}
        told = await desk.world.client.get("/v1/replay", params=query, headers=headers)
        assert told.status_code == 200, told.text
        body = told.json()
        assert (body["decision"], body["reason"], body["revision"]) == (
            answer["decision"],
            answer["context"]["reason"],
            revision,
        )
        decisions.add((body["decision"], body["reason"]))
        for said in (await desk.of_store(*words_of(then), "--json"), await desk.of_export(*words_of(then), "--json")):
            assert (said.status, said.out) == (0, told.text + "\n"), said.err
    assert {(True, "granted"), (False, "revoked"), (False, "suspended"), (False, "no_grant")} <= decisions
    assert {(False, "partner_not_eligible"), (False, "scope_not_granted")} <= decisions


async def test_a_permit_that_was_revoked_later_is_a_yes_then_and_a_no_after(desk: Desk) -> None:
    world = desk.world
    await world.register()
    given = await world.granted()
    permitted = world.clock.advance(hours=1)
    world.clock.advance(hours=1)
    await world.step(given["grantId"], "revoke")
    denied = world.clock.advance(hours=1)
    await desk.write()
    asked: Question = {"clientId": "rekenrijk", "place": "16SW00", "type": "leerling", "field": "achternaam"}
    for ask in (desk.of_store, desk.of_export):
        yes = await ask(*words_of(asked | {"at": written(permitted)}))
        assert (yes.status, yes.out.splitlines()[0]) == (0, "yes: granted"), yes.err
        assert f"grant      {given['grantId']}, without an end" in yes.out
        assert "fields     @eckid, @key, achternaam" in yes.out.replace("@key, @eckid", "@eckid, @key"), yes.out
        (because,) = [line for line in yes.out.splitlines() if line.endswith("grant.granted")]
        assert because.startswith("because    #")
        assert written(START) in because
        no = await ask(*words_of(asked | {"at": written(denied)}))
        assert (no.status, no.out.splitlines()[0]) == (0, "no: revoked"), no.err
        assert "grant.revoked" in no.out
        assert "scopes " not in no.out
        assert (await ask(*words_of(asked))).out == no.out, "without an instant it is now, or the end of the export"


@pytest.mark.parametrize("seed", [3, 8])
def test_an_export_of_any_history_tells_what_was_decided_in_it(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    export = tmp_path / "export.jsonl"
    with history_on(store_url, tmp_path, Tally()) as history:
        for _ in range(70):
            take, named = step_of(chance.randrange(1, 2**48))
            take(history, **named)
        history.everything_agrees(0)
        world = history.world
        by_clock(monkeypatch, world.clock)
        history.do(write_export(world.store, keys_of(world), export))
        given = [each for each in history.given if each[3][0] == "granted"][-6:]
        for asked, moment, revision, right in [*given, *chance.sample(history.given, 12)]:
            words = ["replay", "--client-id", asked.client_id, "--place", asked.place, "--type", asked.type, "--json"]
            words += [word for scope in asked.scopes for word in ("--scope", scope)]
            words += [word for name in asked.fields for word in ("--field", name)]
            words += ["--purpose", asked.purpose] if asked.purpose else []
            words += ["--at", written(moment), "--revision", str(revision)]
            of_export = command(*words, "--export", str(export))
            of_store = command(*words, DATABASE_URL=store_url)
            if of_export.status == 2:
                # A question at the door may hold what the API of the past refuses.
                assert of_store.status == 2
                continue
            assert of_export.out == of_store.out
            told = json.loads(of_export.out)
            assert (told["reason"], frozenset(told["scopes"]), frozenset(told["fields"])) == right
        assert given, "a history that never permits shows little"


# -- what changed -----------------------------------------------------------------------------------------------------


async def told_by_api(world: World, query: str) -> list[dict[str, Any]]:
    """The changes in parts, as a program reads them."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = await world.operate("GET", f"/v1/changes?limit=3{query}{cursor}")
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        if answer.json()["next"] is None:
            return found
        cursor = f"&cursor={answer.json()['next']}"


PERIODS: Final[tuple[tuple[list[str], str], ...]] = (
    ([], ""),
    (["--school", "16SW"], "&school=16SW"),
    (["--brin", "17TX", "--client-id", "taalhuis"], "&school=17TX&clientId=taalhuis"),
    (["--client-id", "rekenrijk"], "&clientId=rekenrijk"),
    (
        ["--since", "2026-09-01T10:00:00Z", "--until", "2026-09-01T12:00:00Z"],
        "&since=2026-09-01T10:00:00Z&until=2026-09-01T12:00:00Z",
    ),
)


async def test_the_api_the_store_and_an_export_tell_the_same_changes(desk: Desk, lived: list[Any]) -> None:
    await desk.write()
    everything = len(entries_in(desk.export))
    sizes = set()
    for words, query in PERIODS:
        told = await told_by_api(desk.world, query)
        for said in (
            await desk.of_store("changes", *words, "--json"),
            await desk.of_export("changes", *words, "--json"),
        ):
            assert said.status == 0, said.err
            assert [json.loads(line) for line in said.out.splitlines()] == told
        readable = await desk.of_store("changes", *words)
        assert readable == Said(0, (await desk.of_export("changes", *words)).out, "")
        assert len(readable.out.splitlines()) == len(told)
        sizes.add(len(told))
    assert (max(sizes), len(sizes), 0 in sizes) == (everything, len(PERIODS), False)


async def test_a_line_tells_what_is_said_differently_from_before(desk: Desk) -> None:
    world = desk.world
    await world.register()
    given = await world.granted()
    since = world.clock.advance(hours=1)
    now = await world.amend(given, scopes=BASIS)
    assert now.status_code == 200
    await world.step(given["grantId"], "revoke")
    until = world.clock.advance(hours=1)
    await world.granted()
    await desk.write()
    for ask in (desk.of_store, desk.of_export):
        said = await ask("changes", "--since", written(since), "--until", written(until), "--school", "16SW")
        amended, revoked = said.out.splitlines()
        assert amended.endswith(f"grant.amended  16SW  rekenrijk  {given['grantId']}  scopes: -leerling.naam")
        assert revoked.endswith(f"grant.revoked  16SW  rekenrijk  {given['grantId']}  status: granted -> revoked")
        (again,) = (await ask("changes", "--since", written(until))).out.splitlines()
        assert "  new; agreementId: " in again
        assert f"; scopes: {' '.join(sorted(NAMES))}; status: granted; validFrom: {written(until)}" in again
        told = [json.loads(line) for line in (await ask("changes", "--school", "16SW", "--json")).out.splitlines()]
        assert [(each["event"], each["before"] is None) for each in told] == [
            ("grant.granted", True),
            ("grant.amended", False),
            ("grant.revoked", False),
            ("grant.granted", True),
        ]
        assert [each["before"] for each in told[1:3]] == [each["after"] for each in told[:2]]


async def test_a_school_reads_what_changed_about_itself_and_nothing_of_another(world: World) -> None:
    await world.register()
    given = await world.granted()
    theirs = await world.granted(brin="17TX")
    await world.step(given["grantId"], "revoke")
    for brin in ("16SW", "17TX"):
        await world.operate("POST", f"/v1/schools/{brin}/keys", {"schoolkey": "sleutel"})
        await world.operate("POST", f"/v1/schools/{brin}/keys/sleutel/_remove", {"reason": "Weg."})
    told = (await world.administer("GET", "/changes")).json()["items"]
    assert [each["event"] for each in told] == [
        "grant.granted",
        "grant.revoked",
        "school.key_added",
        "school.key_removed",
    ]
    other = (await world.administer("GET", "/changes", brin="17TX")).json()["items"]
    assert [each["event"] for each in other] == ["grant.granted", "school.key_added", "school.key_removed"]
    assert [each["before"] for each in other[:2]] == [None, None], "that another had this key is not told"
    assert {each["school"] for each in other} == {"17TX"}
    assert theirs["grantId"] not in str(told)
    assert given["grantId"] not in str(other)
    alone = (await world.administer("GET", "/changes?clientId=rekenrijk&limit=1")).json()
    assert [each["event"] for each in alone["items"]] == ["grant.granted"]
    rest = (await world.administer("GET", f"/changes?clientId=rekenrijk&cursor={alone['next']}")).json()
    assert [(each["event"], each["before"]["status"]) for each in rest["items"]] == [("grant.revoked", "granted")]
    backwards = "/changes?since=2026-09-02T00:00:00Z&until=2026-09-01T00:00:00Z"
    assert (await world.administer("GET", backwards)).status_code == 400


# -- exports that are not what they were ------------------------------------------------------------------------------


def changed(entries: Entries) -> Entries:
    for entry in entries:
        if entry["kind"] == "grant.revoked":
            entry["state"]["status"] = "granted"
    return entries


TAMPERED: Final[dict[str, Callable[[Entries], list[Any]]]] = {
    "changed": changed,
    "removed": lambda entries: [entry for entry in entries if entry["kind"] != "grant.revoked"],
    "cut off": lambda entries: entries[:-1],
    "all gone": lambda entries: [],
    "put into another order": lambda entries: [*entries[:-2], entries[-1], entries[-2]],
    "numbered anew": lambda entries: [
        entry | {"number": number}
        for number, entry in enumerate((each for each in entries if each["kind"] != "grant.revoked"), start=1)
    ],
    "twice": lambda entries: [*entries, entries[-1]],
    "added to": lambda entries: [*entries, entries[-1] | {"number": len(entries) + 1, "kind": "grant.granted"}],
}


@pytest.fixture(scope="module")
def kept(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, str]:
    """An export of a grant that was revoked, a later one of the same log, and the log's key."""
    folder = tmp_path_factory.mktemp("kept")
    shutil.copy(sqlite_template, folder / "privacy-manager.db")

    async def living() -> tuple[bytes, bytes, str]:
        async with world_on(f"sqlite+aiosqlite:///{folder / 'privacy-manager.db'}", folder) as world:
            desk = Desk(world, folder / "export.jsonl")
            await world.register()
            given = await world.granted()
            world.clock.advance(hours=1)
            await world.step(given["grantId"], "revoke")
            world.clock.advance(hours=1)
            await desk.write()
            first = desk.export.read_bytes()
            await world.granted()
            await desk.write()
            return first, desk.export.read_bytes(), str(keys_of(world).verifiers[0])

    return asyncio.run(living())


@pytest.fixture
def export(kept: tuple[bytes, bytes, str], tmp_path: Path) -> Path:
    """A copy of that export, to be tampered with."""
    path = tmp_path / "export.jsonl"
    path.write_bytes(kept[0])
    return path


@pytest.fixture
def log_key(kept: tuple[bytes, bytes, str]) -> str:
    return kept[2]


def asked_everything(export: Path, *words: str) -> list[Said]:
    """Each command that reads an export."""
    asked = words_of(QUESTIONS[1])
    return [
        command(*one, "--export", str(export), *words)
        for one in (asked, [*asked, "--json"], ["changes"], ["changes", "--json"])
    ]


@pytest.mark.parametrize("what", TAMPERED)
def test_nothing_is_told_of_an_export_that_was(export: Path, log_key: str, what: str) -> None:
    assert all(said.status == 0 for said in [*asked_everything(export), command("verify", "--export", str(export))])
    rewritten(export, TAMPERED[what])
    for said in [*asked_everything(export), *asked_everything(export, "--key", log_key)]:
        assert said.is_a_refusal, said
        assert "does not hold" in said.err
    assert command("verify", "--export", str(export)).status == 1


def test_entries_behind_an_older_checkpoint_are_not_taken_for_signed(
    export: Path, kept: tuple[bytes, bytes, str]
) -> None:
    older, newer, _ = kept
    export.write_bytes(b"".join([older.splitlines(keepends=True)[0], *newer.splitlines(keepends=True)[1:]]))
    assert all(said.is_a_refusal for said in asked_everything(export))
    found = command("verify", "--export", str(export))
    assert (found.status, "stand behind" in found.out) == (1, True)


def test_an_export_that_another_signed_holds_by_its_own_key_alone(export: Path, log_key: str, tmp_path: Path) -> None:
    theirs = forged(export, changed(entries_in(export)), tmp_path)
    assert all(said.is_a_refusal for said in asked_everything(export, "--key", log_key))
    (taken, *_) = asked_everything(export)
    assert taken.out.startswith("yes: granted")
    assert "a key that it names itself" in taken.err
    (taken, *_) = asked_everything(export, "--key", str(theirs.verifiers[0]))
    assert (taken.status, taken.err) == (0, "")


def test_an_installation_takes_an_export_by_its_own_keys_alone(
    export: Path, kept: tuple[bytes, bytes, str], tmp_path: Path
) -> None:
    """Whoever changed one signs it again, by a key of the same name."""
    told = {"VAR_DIR": str(tmp_path / "installation")}
    evidence_keys.make(tmp_path / "installation" / "evidence-keys.json")
    commands = [words_of(QUESTIONS[1]), ["changes"], ["verify"]]
    for words in commands:
        said = command(*words, "--export", str(export), **told)
        assert (said.is_a_refusal, "signed by nobody who is known" in said.err) == (True, True), said
        said = command(*words, "--export", str(export), "--key", kept[2], **told)
        assert (said.status, said.err) == (0, "")
        said = command(*words, "--export", str(export))
        assert (said.status, "a key that it names itself" in said.err) == (0, True)


async def test_what_came_after_an_export_it_does_not_tell(desk: Desk) -> None:
    await desk.world.register()
    until = desk.world.clock.now
    await desk.write()
    after = desk.world.clock.advance(hours=1)
    for words in ([*words_of(QUESTIONS[0]), "--at"], ["changes", "--until"]):
        assert (await desk.of_export(*words, written(until))).status == 0
        late = await desk.of_export(*words, written(after))
        assert late.is_a_refusal
        assert "what changed after it" in late.err
    assert (await desk.of_store(*words_of(QUESTIONS[0]), "--at", written(after))).status == 0
    future = await desk.of_store(*words_of(QUESTIONS[0]), "--at", "2999-01-01T00:00:00Z")
    assert (future.is_a_refusal, future.err) == (True, "privacy-manager: at must not be in the future.")


def test_an_export_that_does_not_say_of_when_it_is_tells_nothing_of_then(export: Path, tmp_path: Path) -> None:
    forged(export, entries_in(export), tmp_path, until="")
    assert [said.is_a_refusal for said in asked_everything(export)] == [True, True, False, False]
    assert command("changes", "--export", str(export), "--until", "2026-09-01T09:00:00Z").is_a_refusal


# -- exports as nobody would write them -------------------------------------------------------------------------------


def in_grant(**members: Any) -> Callable[[Entries], Entries]:
    """The grant's state says something else."""

    def make(entries: Entries) -> Entries:
        for entry in entries:
            if entry["kind"].startswith("grant."):
                entry["state"] |= members
        return entries

    return make


def without(name: str) -> Callable[[Entries], Entries]:
    def make(entries: Entries) -> Entries:
        for entry in entries:
            entry["state"].pop(name, None)
        return entries

    return make


SENSELESS: Final[dict[str, Callable[[Entries], Entries]]] = {
    "no scopes": without("scopes"),
    "no grant's id": without("grantId"),
    "scopes that are a number": in_grant(scopes=7),
    "scopes in scopes": in_grant(scopes=[["leerling.naam"]]),
    "an instant without an offset": in_grant(validFrom="2026-09-01T08:00:00"),
    "an instant that is no text": in_grant(validFrom=2026),
    "an instant before all": in_grant(validFrom="0001-01-01T00:00:00+23:59", validUntil="0001-01-01T00:00:00+23:59"),
    "an end after all": in_grant(status="granted", validUntil="9999-12-31T23:59:59-23:59"),
    "a grant's id that is an object": in_grant(status="granted", grantId={"a": 1}),
    "schools that are numbers": lambda entries: [
        entry | {"state": {"listed": {"schools": [1, 2], "locations": 3}}}
        if entry["kind"] == "schools.listed"
        else entry
        for entry in entries
    ],
}


@pytest.mark.parametrize("what", SENSELESS)
def test_what_no_change_could_say_is_a_refusal_also_when_it_is_signed(export: Path, tmp_path: Path, what: str) -> None:
    forged(export, SENSELESS[what](entries_in(export)), tmp_path)
    for said in asked_everything(export):
        assert said.is_a_refusal or said.status == 0, said
    (replayed, as_json, *_) = asked_everything(export)
    assert replayed.is_a_refusal or replayed.out.startswith("no: "), replayed
    assert as_json.is_a_refusal or json.loads(as_json.out)["decision"] is False
    if what != "an instant before all":
        assert (replayed.is_a_refusal, "what no change could" in replayed.err) == (True, True)


WRONG: Final[dict[str, dict[str, Any]]] = {
    "a number that is true": {"number": True},
    "a number that is a text": {"number": "1"},
    "no instant": {"at": "gisteren"},
    "a day that there is not": {"at": "2026-13-45T00:00:00.000000Z"},
    "a school that is a list": {"brin": ["16SW"]},
    "a connection that a terminal obeys": {"clientId": "\x1b[2J"},
    "a state that is a list": {"state": []},
    "half of a character": {"state": {"a": "\ud800"}},
    "a number of many digits": {"revision": 10**30},
    "no kind": {"kind": None},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_line_that_is_no_entry_is_named(export: Path, what: str) -> None:
    lines = export.read_bytes().splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | WRONG[what]).encode()
    export.write_bytes(b"\n".join([*lines, b""]))
    for said in [*asked_everything(export), command("verify", "--export", str(export))]:
        assert said.is_a_refusal, said
        assert "line 3" in said.err


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}", b"\x00\xff" * 99, b"[" * 100_000, b'{"checkpoint": "", "keys": []}\n', b"SQLite format 3\x00"],
    ids=["empty", "a line", "no members", "no text", "nested", "no note", "a database"],
)
def test_what_is_no_export_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "export.jsonl"
    path.write_bytes(content)
    assert all(said.is_a_refusal for said in asked_everything(path))


@pytest.mark.parametrize("line", [b"[" * 99_999, b'{"number": 1', b'"\xff"', b"null", b'{"a": 1, "a": 1}', b"1e999"])
def test_a_line_that_is_no_object_is_refused(export: Path, line: bytes) -> None:
    head, first, *others = export.read_bytes().splitlines()
    export.write_bytes(b"\n".join([head, first, line, *others]))
    for said in asked_everything(export):
        assert (said.is_a_refusal, "line 3" in said.err) == (True, True), said


def test_nothing_in_an_export_commands_the_terminal(export: Path, tmp_path: Path) -> None:
    hostile = "\x1b]0;x\x07\r\u202e\u009b2J\nyes: granted"
    entries = in_grant(status=hostile, grantId=hostile, **{hostile: hostile})(entries_in(export))
    forged(export, [*entries, entries[-1] | {"number": len(entries) + 1, "kind": hostile[4:5] + "x"}], tmp_path)
    for said in asked_everything(export):
        written = said.out + said.err
        assert not [sign for sign in written if not (sign.isprintable() or sign == "\n")], written
        assert not any(line.startswith("yes: granted") for line in written.splitlines())


# -- options ----------------------------------------------------------------------------------------------------------

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
    await world.register()
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
    await desk.world.register()
    await desk.write()
    words = [*words_of(QUESTIONS[0]), "--at", written(desk.world.clock.now), "--revision", "9999"]
    for said in (await desk.of_store(*words), await desk.of_export(*words)):
        assert (said.is_a_refusal, said.err) == (True, "privacy-manager: There is no such revision.")


async def test_what_the_catalogue_does_not_know_is_a_no(desk: Desk) -> None:
    await desk.world.register()
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
    assert run(tmp_path, "replay").returncode == 2


def test_an_export_is_asked_where_there_is_no_store_and_no_key(export: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    said = run(elsewhere, *words_of(QUESTIONS[0]), "--export", str(export))
    assert (said.returncode, said.stdout.splitlines()[0]) == (0, "no: revoked"), said.stderr
    assert "grant.revoked" in run(elsewhere, "changes", "--export", str(export)).stdout
    assert not list(elsewhere.iterdir()), "nothing was made"
