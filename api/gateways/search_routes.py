"""AuthZEN's searches (section 8) for subjects, resources and actions.

Every result is a permit of `decide()`, which is asked of one snapshot at one instant for each candidate in turn; no
place or connection that it would permit is left out. A result is no permission to release: that is asked for each
release.
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
from models.decision.decision_log import LoggedCaller, line_of_search
from models.decision.snapshot import Snapshot

#: Candidates decided before other requests get their turn: about a millisecond.
AT_ONCE: Final = 100

ACTIONS: Final = ("release",)


class SearchHook(Hook):
    """Base of the three searches: goes through the candidates, decides on each, fills the page."""

    most_bytes = 64 * 1024
    decoder: ClassVar["msgspec.json.Decoder[Any]"]
    response_type: ClassVar[type[EntitiesFound] | type[ActionsFound]] = EntitiesFound

    async def answer(self, body: bytes, caller: LoggedCaller) -> tuple[int, bytes]:
        search = search_of(self.decoder, body)

        def start(snapshot: Snapshot, now: datetime) -> Logged[tuple[Snapshot, datetime]]:
            reason = _log_reason(search, snapshot)
            line = line_of_search(caller, now, snapshot.revision, search.question, reason)
            return Logged((snapshot, now), [line])

        try:
            snapshot, now = await self.current.decide(start)
        except StoreUnreachable:
            return 503, encoded(response_of(unreachable(self.current.revision)))
        except StoreBehind:
            return 503, encoded(response_of(behind(self.current.revision)))
        if search.question.min_revision > snapshot.revision:
            return 503, encoded(response_of(behind(snapshot.revision)))
        page, results = await _page(search, self.candidates(snapshot, search.question, search.after), snapshot, now)
        return 200, encoded(self.response_type(page, SearchContext(snapshot.revision), results))

    @abstractmethod
    def candidates(self, snapshot: Snapshot, question: Question, after: str) -> Iterable[str]:
        """Ids after `after`, in order, that include all that may be permitted."""


class SubjectSearch(SearchHook):
    """`POST /access/v1/search/subject`: which connections may receive this?"""

    decoder = msgspec.json.Decoder(SubjectSearchRequest)

    def candidates(self, snapshot: Snapshot, question: Question, after: str) -> Iterable[str]:
        client_ids = sorted(snapshot.connections)
        return client_ids[bisect_right(client_ids, after) :]


class ResourceSearch(SearchHook):
    """`POST /access/v1/search/resource`: of which schools and locations may this connection receive this?"""

    decoder = msgspec.json.Decoder(ResourceSearchRequest)

    def candidates(self, snapshot: Snapshot, question: Question, after: str) -> Iterable[str]:
        return snapshot.places_of(question.client_id, after)


class ActionSearch(SearchHook):
    """`POST /access/v1/search/action`: may this be released at all, and what of it?"""

    decoder = msgspec.json.Decoder(ActionSearchRequest)
    response_type = ActionsFound

    def candidates(self, snapshot: Snapshot, question: Question, after: str) -> Iterable[str]:
        return [action for action in ACTIONS if action > after]


def _log_reason(search: Search, snapshot: Snapshot) -> str:
    """The reason in the log's line of a search: what was searched, not the results."""
    if search.question.min_revision > snapshot.revision:
        return Reason.REVISION_BEHIND
    return f"searched_{search.request.searched}s"


async def _page(search: Search, candidates: Iterable[str], snapshot: Snapshot, now: datetime) -> tuple[Page, list[Any]]:
    """The results up to the limit. A next page exists only if one more permit is found."""
    results: list[Any] = []
    last = search.after
    for number, candidate in enumerate(candidates, 1):
        question = search.request.complete(search.question, candidate)
        decision = decide(snapshot, question, now)
        if decision.permit:
            if len(results) == search.limit:
                return Page(search.token_behind(last), len(results)), results
            results.append(search.request.result(question, decision))
            last = candidate
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    return Page("", len(results)), results
