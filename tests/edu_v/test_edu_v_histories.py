"""Whatever happened, in whatever order and through whichever door: both doors show the same consents.

Hypothesis makes up histories. Each step goes through the main door or the Edu-V door, and after each of them what a
partner and a school are told by the one is held against what they are told by the other; what `since` brings, against
all that there is.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from api.grants.expiry_job import expire
from tests.edu_v.both_sides import API, all_of, new_reference, school
from tests.effort import PROVING
from tests.worlds.questions import BRINS, CLIENTS, OPTIONAL, PLACES, PURPOSES, closed
from tests.worlds.stores import Stores
from tests.worlds.world import BASIS, Answer, World, world_on

EDU_V: Final = "/edu-v/v1/consent"
BOARD_OF: Final = {"16SW": "10001", "17TX": "10002"}

#: A consent as either door shows it: whose, where, what, how it stands, and from when until when.
Shown = tuple[str, str, tuple[str, ...], tuple[str, ...], str, str | None, str | None]
STANDS: Final = {"granted": "accepted", "open": "requested", "withdrawn": "requested"}


def read(grant: dict[str, Any]) -> str:
    """The ETag of this grant at the Edu-V door."""
    return f'"{grant["grantId"]}.{grant["version"]}"'


class Consents:
    """One history, on a store of its own."""

    def __init__(self, world: World, tally: Counter[str], do: Callable[[Any], Any]) -> None:
        self.world, self.tally, self.do = world, tally, do
        self.before: dict[str, list[dict[str, Any]]] = {}
        do(world.register("rekenrijk", optional=OPTIONAL, purposes=PURPOSES))
        do(world.register("taalhuis", kvk_number="90000002", optional=OPTIONAL[:3], purposes=PURPOSES[:2]))

    # -- what happens, through either door ----------------------------------------------------------------------------

    def a_connection_asks(self, by: random.Random, here: bool) -> None:
        client, place, wish = by.choice(CLIENTS), by.choice(PLACES), self.wish(by)
        if here:
            body = {"consumerReferenceId": new_reference(), **self.about(place), **wish}
            self.took("asked", here, self.partner(client, "PUT", f"{EDU_V}/requests", body))
        else:
            body = {"schools": [place], **wish}
            self.took("asked", here, self.partner(client, "POST", "/v1/consents/requests", body))

    def a_school_accepts(self, by: random.Random, here: bool) -> None:
        request = self.waiting(by, here)
        if request is None:
            return
        place, wanted = self.place_of(request), request["scopes"]
        scopes = wanted["required"] + [scope for scope in wanted["optional"] if by.random() < 0.6]
        scopes = closed(set(scopes)) if by.random() < 0.9 else scopes
        if here:
            body = {**self.about(place), "clientId": request["clientId"], "scopes": scopes}
            body |= {"purposes": request["purposes"], **self.named_by(request)}
            answer = self.school(place, "PUT", f"{EDU_V}/notifications", body, **self.if_match(request))
        else:
            path = f"/v1/schools/{place[:4]}/requests/{request['requestId']}/_accept"
            answer = self.school(place, "POST", path, {"scopes": scopes}, If_Match="*")
        self.took("accepted", here, answer)

    def a_school_declines(self, by: random.Random, here: bool) -> None:
        request = self.waiting(by, here)
        if request is None:
            return
        place, named = self.place_of(request), self.named_by(request)
        if here and named:
            answer = self.school(place, "PUT", f"{EDU_V}/revokes", {**self.about(place), **named})
        else:
            path = f"/v1/schools/{place[:4]}/requests/{request['requestId']}/_decline"
            answer = self.school(place, "POST", path, {"reason": "Nee."})
        self.took("declined", here and bool(named), answer)

    def a_connection_withdraws(self, by: random.Random, here: bool) -> None:
        request = self.waiting(by, here)
        if request is None:
            return
        place, named, client = self.place_of(request), self.named_by(request), request["clientId"]
        if here and named:
            answer = self.partner(client, "PUT", f"{EDU_V}/revokes", {**self.about(place), **named})
        else:
            answer = self.partner(client, "POST", f"/v1/consents/requests/{request['requestId']}/_withdraw", {})
        self.took("withdrew", here and bool(named), answer)

    def a_school_grants(self, by: random.Random, here: bool) -> None:
        client, place = by.choice(CLIENTS), by.choice(PLACES)
        ends = {"validUntil": self.moment(by.choice([1, 2, 4]))} if by.random() < 0.4 else {}
        starts = {"validFrom": self.moment(1)} if by.random() < 0.2 else {}
        wish = {"clientId": client, "scopes": closed(set(by.sample(OPTIONAL[:3], 2))), "purposes": list(PURPOSES[:1])}
        if here:
            name = {"providerReferenceId": new_reference()} if by.random() < 0.5 else {}
            body = {**wish, **starts, **ends, **self.about(place), **name}
            answer = self.school(place, "PUT", f"{EDU_V}/notifications", body)
        else:
            where = {"location": place} if len(place) > 4 else {}
            answer = self.school(place, "POST", f"/v1/schools/{place[:4]}/grants", {**wish, **starts, **ends, **where})
        self.took("granted", here, answer)

    def a_school_amends(self, by: random.Random, here: bool) -> None:
        grant = self.grant(by)
        if grant is None:
            return
        change = {"scopes": closed(set(by.sample(OPTIONAL[:3], by.randint(0, 3)))), "purposes": grant["purposes"]}
        change |= {"validUntil": self.moment(by.choice([1, 3]))} if by.random() < 0.3 else {}
        place = grant["location"] or grant["school"]
        if here:
            body = {**self.about(place), "clientId": grant["clientId"], **change}
            answer = self.school(place, "PUT", f"{EDU_V}/notifications", body, If_Match=read(grant))
        else:
            path = f"/v1/schools/{place[:4]}/grants/{grant['grantId']}"
            answer = self.school(place, "PATCH", path, change, If_Match="*")
        self.took("amended", here, answer)

    def a_school_suspends_or_resumes(self, by: random.Random, here: bool) -> None:
        grant = self.grant(by)
        if grant is not None:
            step = by.choice(["suspend", "suspend", "resume"])
            body = {"until": self.moment(2)} if step == "suspend" and by.random() < 0.5 else {}
            path = f"/v1/schools/{grant['school']}/grants/{grant['grantId']}/_{step}"
            self.took(step, False, self.school(grant["school"], "POST", path, body))

    def a_school_revokes(self, by: random.Random, here: bool) -> None:
        grant = self.grant(by)
        if grant is None:
            return
        place = grant["location"] or grant["school"]
        if here:
            body = {**self.about(place), "providerReferenceId": grant["grantId"]}
            answer = self.school(place, "PUT", f"{EDU_V}/revokes", body)
        else:
            path = f"/v1/schools/{place[:4]}/grants/{grant['grantId']}/_revoke"
            answer = self.school(place, "POST", path, {})
        self.took("revoked", here, answer)

    def a_connection_gives_back(self, by: random.Random, here: bool) -> None:
        grant = self.grant(by)
        if grant is not None:
            place = grant["location"] or grant["school"]
            body = {**self.about(place), "providerReferenceId": grant["grantId"]}
            self.took("gave back", True, self.partner(grant["clientId"], "PUT", f"{EDU_V}/revokes", body))

    def a_connection_confirms(self, by: random.Random, here: bool) -> None:
        grant = self.grant(by)
        if grant is not None:
            names = {"providerReferenceId": grant["grantId"], "consumerReferenceId": new_reference()}
            body = {**self.about(grant["location"] or grant["school"]), **names}
            answer = self.partner(grant["clientId"], "PUT", f"{EDU_V}/confirmations", body)
            self.took("confirmed", True, answer)

    def a_board_gives_or_takes_back(self, by: random.Random, here: bool) -> None:
        client, brin = by.choice(CLIENTS), by.choice(BRINS)
        path, body = f"/v1/boards/{BOARD_OF[brin]}/grants", {"clientId": client}
        if by.random() < 0.6:
            body |= {"scopes": closed(set(by.sample(OPTIONAL[:3], 1))), "purposes": list(PURPOSES[:1])}  # type: ignore[dict-item]
        else:
            path += "/_revoke"
        token = self.world.token("board", board=BOARD_OF[brin])
        self.took("by a board", False, self.do(self.world.call("POST", path, token, body)))

    def a_connection_changes(self, by: random.Random, here: bool) -> None:
        optional = [scope for scope in closed(set(by.sample(OPTIONAL[:3], 2))) if scope not in BASIS]
        change = {"scopes": {"required": BASIS, "optional": optional}}
        path = f"/v1/connections/{by.choice(CLIENTS)}"
        self.took("changed", False, self.do(self.world.operate("PATCH", path, change, If_Match="*")))

    def time_passes(self, by: random.Random, here: bool) -> None:
        self.world.clock.advance(hours=by.choice([1, 1, 2, 24 * 31]))
        self.tally["time passed"] += 1

    def the_job_writes_down_what_time_brought(self, by: random.Random, here: bool) -> None:
        if self.do(expire(self.world.store)):
            self.tally["settled"] += 1

    # -- what must hold after each of it ------------------------------------------------------------------------------

    def both_doors_agree(self, by: random.Random) -> None:
        main, limit = list(self.by_main_door()), by.choice([2, 100, 100, 100])
        for client in CLIENTS:
            token = self.world.token("partner", client_id=client)
            here = self.listed_here(f"partner {client}", token, limit)
            assert sorted(map(shown_here, here)) == sorted(each for each in main if each[0] == client), client
            self.the_same_counts_at(client, by.choice(PLACES), token)
        for brin in BRINS:
            here = self.listed_here(f"school {brin}", self.world.token("school", school=brin), limit)
            assert sorted(map(shown_here, here)) == sorted(each for each in main if each[1][:4] == brin), brin

    def listed_here(self, who: str, token: str, limit: int) -> list[dict[str, Any]]:
        """All that the Edu-V door shows; what is new or changed since the last time is what `since` brings, and else
        only time has passed."""
        before = self.before.get(who, [])
        last = max((each["revision"] for each in before), default=0)
        whole = self.do(all_of(self.world, token, "statuses", limit=limit))
        assert self.do(all_of(self.world, token, "statuses", limit=limit, since=last)) == [
            each for each in whole if each["revision"] > last
        ]
        timeless = [timeless_of(each) for each in before]
        for each in whole:
            assert each["revision"] > last or timeless_of(each) in timeless, each
        assert [each["revision"] for each in whole] == sorted(each["revision"] for each in whole)
        self.before[who] = whole
        return list(whole)

    def by_main_door(self) -> Iterator[Shown]:
        """Every grant that there ever was, and every request that led to none, as schools see them."""
        for brin in BRINS:
            for grant in self.main(brin, "grants"):
                place, period = grant["location"] or grant["school"], (grant["validFrom"], grant["validUntil"])
                yield shown(grant["clientId"], place, grant["scopes"], grant["purposes"], grant["status"], *period)
            for request in self.main(brin, "requests"):
                if request["grantId"] is None:
                    scopes = request["scopes"]["required"] + request["scopes"]["optional"]
                    place, status = self.place_of(request), request["status"]
                    yield shown(request["clientId"], place, scopes, request["purposes"], status, None, None)

    def the_same_counts_at(self, client: str, place: str, token: str) -> None:
        looked = self.do(self.world.look(client, school=place)).json()["items"][0]
        here = self.do(self.world.call("GET", f"{EDU_V}/statuses/school?orgId={place}&orgIdType=OIE_CODE", token))
        if looked["status"] == "none":
            assert here.status_code == 404 or here.json()["providerStatus"] in ("requested", "declined")
            return
        assert here.status_code == 200, here.text
        found = here.json()
        period = (looked["validFrom"], looked["validUntil"])
        # The place of the grant that counts may be the whole school, where a location was asked about.
        of = shown_here(found)[1]
        assert of in (place, place[:4])
        assert shown_here(found) == shown(client, of, looked["scopes"], looked["purposes"], looked["status"], *period)
        by_name = f"{EDU_V}/statuses/school?providerReferenceId={looked['grantId']}"
        assert self.do(self.world.call("GET", by_name, token)).json() == found

    # -- what the steps are made of -----------------------------------------------------------------------------------

    def about(self, place: str) -> dict[str, Any]:
        return {"school": school(place), "api": API}

    def wish(self, by: random.Random) -> dict[str, Any]:
        return {"scopes": closed(set(by.sample(OPTIONAL[:3], by.randint(0, 3)))), "purposes": list(PURPOSES[:1])}

    def main(self, brin: str, what: str, **query: str) -> list[dict[str, Any]]:
        asked = "&".join(["limit=500", *(f"{name}={value}" for name, value in query.items())])
        return list(self.school(brin, "GET", f"/v1/schools/{brin}/{what}?{asked}").json()["items"])

    def waiting(self, by: random.Random, here: bool) -> dict[str, Any] | None:
        """A request that waits; where none does, one is made first, through the same door."""
        for _ in range(2):
            found = [each for brin in BRINS for each in self.main(brin, "requests", status="open")]
            if found:
                return by.choice(sorted(found, key=lambda each: (each["revision"], each["requestId"])))
            self.a_connection_asks(by, here)
        return None

    def grant(self, by: random.Random) -> dict[str, Any] | None:
        """Mostly one that is not ended."""
        found = [each for brin in BRINS for each in self.main(brin, "grants")]
        stand = [each for each in found if each["status"] not in ("revoked", "expired")]
        found = stand if stand and by.random() < 0.9 else found
        return by.choice(sorted(found, key=lambda each: (each["revision"], each["grantId"]))) if found else None

    def named_by(self, request: dict[str, Any]) -> dict[str, str]:
        """What the connection calls the request, where it asked through this door."""
        token = self.world.token("partner", client_id=request["clientId"])
        for each in self.do(all_of(self.world, token, "requests")):
            same = each["revision"] == request["revision"] and shown_here(each)[1] == self.place_of(request)
            if same and each["consumerReferenceId"]:
                return {"consumerReferenceId": each["consumerReferenceId"]}
        return {}

    def if_match(self, request: dict[str, Any]) -> dict[str, str]:
        """Where a grant stands at the place, its version."""
        for each in self.main(request["school"]["brin"], "grants"):
            stands = each["status"] not in ("revoked", "expired") and each["clientId"] == request["clientId"]
            if stands and (each["location"] or each["school"]) == self.place_of(request):
                return {"If_Match": read(each)}
        return {}

    def place_of(self, request: dict[str, Any]) -> str:
        return str(request["location"] or request["school"]["brin"])

    def moment(self, hours: int) -> str:
        later = self.world.clock.now.replace(tzinfo=None)
        return f"{(later + hours * HOUR).isoformat()}Z"

    def partner(self, client: str, method: str, path: str, body: Any = None) -> Answer:
        token = self.world.token("partner", client_id=client)
        answer: Answer = self.do(self.world.call(method, path, token, body))
        return answer

    def school(self, place: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        token = self.world.token("school", school=place[:4])
        answer: Answer = self.do(self.world.call(method, path, token, body, **headers))
        return answer

    def took(self, step: str, here: bool, answer: Answer) -> None:
        """A refusal is an answer too: then nothing may have changed, which the comparison shows."""
        assert answer.status_code < 500, answer.text
        through = "Edu-V" if here else "main"
        self.tally[f"{step}, {through}" if answer.status_code < 300 else "refused"] += 1


def shown(
    client: str, place: str, scopes: list[str], purposes: list[str], status: str, start: str | None, end: str | None
) -> Shown:
    return client, place, tuple(sorted(scopes)), tuple(sorted(purposes)), STANDS.get(status, status), start, end


def shown_here(each: dict[str, Any]) -> Shown:
    (named,) = each["school"]["organisationIds"]
    period = (each["validFrom"], each["validUntil"])
    place, status = named["organisationId"], each["providerStatus"]
    return shown(each["clientId"], place, each["scopes"], each["purposes"], status, *period)


def timeless_of(each: dict[str, Any]) -> dict[str, Any]:
    """All but what time alone may change."""
    return {name: value for name, value in each.items() if name != "providerStatus"}


# -- how a history is made up -----------------------------------------------------------------------------------------

HOUR: Final = timedelta(hours=1)

Take = Callable[[Consents, random.Random, bool], None]
#: The steps: each with its door (Edu-V or ours) and its share.
Step = tuple[Take, bool, random.Random]

#: Each step, and how often it is tried beside the others.
TRIED: Final[tuple[tuple[int, Take], ...]] = (
    (10, Consents.a_connection_asks),
    (9, Consents.a_school_accepts),
    (4, Consents.a_school_declines),
    (4, Consents.a_connection_withdraws),
    (9, Consents.a_school_grants),
    (5, Consents.a_school_amends),
    (4, Consents.a_school_suspends_or_resumes),
    (3, Consents.a_school_revokes),
    (2, Consents.a_connection_gives_back),
    (3, Consents.a_connection_confirms),
    (3, Consents.a_board_gives_or_takes_back),
    (2, Consents.a_connection_changes),
    (4, Consents.time_passes),
    (2, Consents.the_job_writes_down_what_time_brought),
)


@contextmanager
def history_on(store_url: str, folder: Path, tally: Counter[str]) -> Iterator[Consents]:
    with asyncio.Runner() as runner:
        made = world_on(store_url, folder)
        history = Consents(runner.run(made.__aenter__()), tally, runner.run)
        try:
            yield history
        finally:
            runner.run(made.__aexit__(None, None, None))


def run(stores: Stores, folder: Path, histories: int) -> Counter[str]:
    """Tries so many histories, the same ones every time."""
    tally: Counter[str] = Counter()

    @settings(
        max_examples=histories,
        derandomize=True,
        database=None,
        deadline=None,
        # A shorter history would be found in an hour: what failed tells where to look.
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(st.lists(st.integers(0, 2**48), min_size=25, max_size=32))
    def try_one(seeds: list[int]) -> None:
        # Hypothesis favours what is small and the same: by its place in the history, too, a seed is another step.
        chances = [random.Random(f"{place} {seed}") for place, seed in enumerate(seeds)]
        steps = ((*drawn(chance), chance) for chance in chances)
        live(stores(), folder, tally, steps, compared_every=1)

    try_one()
    return tally


def drawn(chance: random.Random) -> tuple[Take, bool]:
    """A step, and whether it goes through the Edu-V door."""
    ((_, take),) = chance.choices(TRIED, [times for times, _ in TRIED])
    return take, chance.random() < 0.5


def live(store_url: str, folder: Path, tally: Counter[str], steps: Iterable[Step], *, compared_every: int) -> None:
    """One history. After so many steps, and at its end, both doors must agree."""
    with history_on(store_url, folder, tally) as history:
        number, chance = 0, random.Random()
        for number, (take, here, chance) in enumerate(steps, start=1):
            take(history, chance, here)
            if number % compared_every == 0:
                history.both_doors_agree(chance)
        history.both_doors_agree(chance)


#: An order of the steps of `make test` in which all kinds of them succeed through both doors.
SHUFFLE: Final = "7"


def run_sample(stores: Stores, folder: Path, most: int | None = None) -> Counter[str]:
    """One history of `make test`, in which the doors are compared after every fourth step.

    Each step is tried as often as `TRIED` says, through either door by turns, in an order that is always the same.
    """
    tally: Counter[str] = Counter()
    tried = [(take, number % 2 == 0) for times, take in TRIED for number in range(max(times, 4))]
    shuffled = random.Random(SHUFFLE).sample(tried, len(tried))[:most]
    steps = ((take, here, random.Random(f"{SHUFFLE} {number}")) for number, (take, here) in enumerate(shuffled))
    live(stores(), folder, tally, steps, compared_every=4)
    return tally


#: What must have happened through both doors; else the histories show less than they say.
THROUGH_BOTH: Final = ("asked", "accepted", "declined", "withdrew", "granted", "amended", "revoked")


def test_no_history_on_sqlite_makes_the_doors_differ(sqlite_stores: Stores, tmp_path: Path) -> None:
    tally = run(sqlite_stores, tmp_path, 6) if PROVING else run_sample(sqlite_stores, tmp_path)
    for step in THROUGH_BOTH:
        assert min(tally[f"{step}, Edu-V"], tally[f"{step}, main"]) > 0, (step, tally)
    for step in ("gave back, Edu-V", "confirmed, Edu-V", "by a board, main", "suspend, main", "settled"):
        assert tally[step], (step, tally)


def test_no_history_on_postgresql_makes_the_doors_differ(postgresql_stores: Stores, tmp_path: Path) -> None:
    tally = run(postgresql_stores, tmp_path, 2) if PROVING else run_sample(postgresql_stores, tmp_path, most=40)
    assert sum(count for step, count in tally.items() if step.endswith("Edu-V")) > 10, tally
