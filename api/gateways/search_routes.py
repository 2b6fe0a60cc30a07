"""The doors of AuthZEN's search (section 8): who may receive this, what may this one receive, what may be done.

Every result is a permit of `decide()`, asked of one snapshot at one instant for each candidate in turn, and no place or
connection that it would permit is left out. A result is no permission to release: that is asked for each release.
"""

import asyncio
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from api.gateways.authzen import encoded, response_of
from api.gateways.authzen_search import (
    ActionSearchRequest,
    ActionsFound,
    EntitiesFound,
    Page,
    ResourceSearchRequest,
    Search,
    SearchContext,
    SubjectSearchRequest,
    search_of,
)
from api.gateways.evaluation import Hook
from api.snapshot.pending_decision import Logged
from api.store.outage import StoreBehind, StoreUnreachable
from models.decision.decision import Question, Reason, behind, decide, unreachable
from models.decision.decision_log import Asker, line_of_search
from models.decision.snapshot import Snapshot

#: So many candidates are decided on before other requests have their turn: about a millisecond.
AT_ONCE: Final = 100

ACTIONS: Final = ("release",)


class Searching(Hook):
    """What the three searches share: the candidates, one decision on each, the page."""

    most_bytes = 64 * 1024
    decoder: ClassVar["msgspec.json.Decoder[Any]"]
    answered: ClassVar[type[EntitiesFound] | type[ActionsFound]] = EntitiesFound

    async def answer(self, body: bytes, asker: Asker) -> tuple[int, bytes]:
        search = search_of(self.decoder, body)

        def begun(snapshot: Snapshot, now: datetime) -> Logged[tuple[Snapshot, datetime]]:
            reason = _said_of(search, snapshot)
            line = line_of_search(asker, now, snapshot.revision, search.question, reason)
            return Logged((snapshot, now), [line])

        try:
            snapshot, now = await self.current.decided(begun)
        except StoreUnreachable:
            return 503, encoded(response_of(unreachable(self.current.revision)))
        except StoreBehind:
            return 503, encoded(response_of(behind(self.current.revision)))
        if search.question.min_revision > snapshot.revision:
            return 503, encoded(response_of(behind(snapshot.revision)))
        page, results = await _page(search, self.candidates(snapshot, search.question, search.after), snapshot, now)
        return 200, encoded(self.answered(page, SearchContext(snapshot.revision), results))

    @abstractmethod
    def candidates(self, snapshot: Snapshot, question: Question, after: str) -> Iterable[str]:
        """The ids behind `after`, in order, among which all are that may be permitted."""


class SubjectSearch(Searching):
    """`POST /access/v1/search/subject`: which connections may receive this?"""

    decoder = msgspec.json.Decoder(SubjectSearchRequest)

    def candidates(self, snapshot: Snapshot, question: Question, after: str) -> Iterable[str]:
        client_ids = sorted(snapshot.connections)
        return client_ids[bisect_right(client_ids, after) :]


class ResourceSearch(Searching):
    """`POST /access/v1/search/resource`: of which schools and locations may this connection receive this?"""

    decoder = msgspec.json.Decoder(ResourceSearchRequest)

    def candidates(self, snapshot: Snapshot, question: Question, after: str) -> Iterable[str]:
        return snapshot.places_of(question.client_id, after)


class ActionSearch(Searching):
    """`POST /access/v1/search/action`: may this be released at all, and what of it?"""

    decoder = msgspec.json.Decoder(ActionSearchRequest)
    answered = ActionsFound

    def candidates(self, snapshot: Snapshot, question: Question, after: str) -> Iterable[str]:
        return [action for action in ACTIONS if action > after]


def _said_of(search: Search, snapshot: Snapshot) -> str:
    """What the line of a search says: what was searched, not what was found."""
    if search.question.min_revision > snapshot.revision:
        return Reason.REVISION_BEHIND
    return f"searched_{search.request.searched}s"


async def _page(search: Search, candidates: Iterable[str], snapshot: Snapshot, now: datetime) -> tuple[Page, list[Any]]:
    """The results up to the limit. Whether more follow is only known once one more is found."""
    results: list[Any] = []
    last = search.after
    for number, candidate in enumerate(candidates, 1):
        question = search.request.about(search.question, candidate)
        decision = decide(snapshot, question, now)
        if decision.permit:
            if len(results) == search.limit:
                return Page(search.token_behind(last), len(results)), results
            results.append(search.request.found(question, decision))
            last = candidate
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    return Page("", len(results)), results
