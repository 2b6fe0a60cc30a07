"""The commands about the past: the decision at an instant (`replay`), and the changes between two (`changes`).

Both read the store of the settings, or an export, which needs neither a store nor a key.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import typer
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from sqlmodel.ext.asyncio.session import AsyncSession

from api.cli import verifier_keys
from api.cli.open_store import closing, store_of
from api.evidence import exports
from api.evidence.exports import Export, ExportRefused
from api.history import diff_routes as changing
from api.history import replay_routes
from api.history.replay_routes import AskedOfAnyPlace, ReplayedDecision
from api.printable_text import printable
from api.settings import Settings
from api.store.store import Store
from api.web.schemas import Moment
from models.log.log_entries import TAMPERING_ERRORS
from models.past.differences import Change, ChangeFilter, compared, differences
from models.past.past_decision import decision_at
from models.vocabulary.identifiers import Brin, ClientId
from models.vocabulary.refusals import InvalidInput

Options = TypeVar("Options", bound=BaseModel)
Result = TypeVar("Result")

#: Number of changes that are read from a store at a time.
AT_ONCE: Final = 500


def question(**given: Any) -> AskedOfAnyPlace:
    """The question of `replay`, from members by their names in the API. Raises `typer.BadParameter`."""
    return _valid(AskedOfAnyPlace, **given)


def wanted_changes(**given: Any) -> ChangeFilter:
    """The filter of `changes`, from members by their API names. Raises `typer.BadParameter` and `InvalidInput`."""
    period = _valid(_Period, **given)
    found = ChangeFilter(period.since, period.until, period.school, period.client_id)
    changing.require_in_order(found)
    return found


def replay(asked: AskedOfAnyPlace, export: Path | None, key: list[str] | None, *, as_json: bool) -> None:
    """Prints the decision, from the store or from an export."""
    if export is None:
        answer = _of_store(key, lambda store, session: _replayed(store, session, asked))
    else:
        with _opened(export, key) as opened:
            answer = _replayed_of(opened, asked)
    if as_json:
        typer.echo(answer.model_dump_json(by_alias=True, ensure_ascii=True))
    else:
        typer.echo("\n".join(_answer_lines(answer, asked)))


def changes(wanted: ChangeFilter, export: Path | None, key: list[str] | None, *, as_json: bool) -> None:
    """Prints the changes, from the store or from an export."""
    tell = _change_json if as_json else _change_line
    if export is None:
        _of_store(key, lambda _, session: _print_changes(session, wanted, tell))
        return
    with _opened(export, key) as opened:
        lines = [tell(change) for change in _changes_of(opened, wanted)]
    for line in lines:
        typer.echo(line)


class _Period(BaseModel):
    """The options of `changes`."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)

    since: Moment | None = None
    until: Moment | None = None
    school: Brin | None = None
    client_id: ClientId | None = None


def _valid(options: type[Options], **given: Any) -> Options:
    """The options, validated as the API validates them. The message of an error does not contain the value."""
    try:
        return options.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        found = {
            ": ".join([*(f"--{_dashed(str(name))}" for name in each["loc"][:1]), each["msg"]])
            for each in error.errors(include_input=False)
        }
        raise typer.BadParameter("; ".join(sorted(found))) from None


def _dashed(name: str) -> str:
    return "".join(f"-{sign.lower()}" if sign.isupper() else sign for sign in name)


# -- from a store -----------------------------------------------------------------------------------------------------


def _of_store(key: list[str] | None, ask: Callable[[Store, AsyncSession], Awaitable[Result]]) -> Result:
    """The result of `ask` on one consistent read of the store of the settings."""
    if key:
        raise typer.BadParameter("--key: it is of an export (--export)")

    async def asking(store: Store) -> Result:
        async with store.reading() as session:
            return await ask(store, session)

    store = store_of(Settings())
    return asyncio.run(closing(store, asking(store)))


async def _replayed(store: Store, session: AsyncSession, asked: AskedOfAnyPlace) -> ReplayedDecision:
    now = await store.now(session)
    return await replay_routes.replayed(session, asked.question(asked.place), asked.at or now, asked.revision, now)


async def _print_changes(session: AsyncSession, wanted: ChangeFilter, tell: Callable[[Change], str]) -> None:
    cursor: str | None = None
    while True:
        some, cursor = await changing.changes_of(session, wanted, AT_ONCE, cursor)
        for change in some:
            typer.echo(tell(change))
        if cursor is None:
            return
        session.expunge_all()


# -- from an export ---------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, key: list[str] | None) -> Iterator[Export]:
    """The export; prints a warning if no key is known.

    Raises `ExportRefused` for an entry that no change can have written.
    """
    known = verifier_keys.known(key)
    with exports.opened(path, known) as opened:
        try:
            yield opened
        except TAMPERING_ERRORS:
            raise ExportRefused(f"{path} says what no change could: nothing is told of it.") from None
    verifier_keys.warn_when_unknown(known)


def _replayed_of(export: Export, asked: AskedOfAnyPlace) -> ReplayedDecision:
    at = asked.at or export.until
    _require_covered(export, at)
    return replay_routes.shown(
        decision_at(export.verified_entries(), asked.question(asked.place), at, asked.revision), at
    )


def _changes_of(export: Export, wanted: ChangeFilter) -> list[Change]:
    """All changes at once, before any is printed: the export is verified only after its last entry."""
    if wanted.until is not None:
        _require_covered(export, wanted.until)
    return [change for change in compared(export.verified_entries()) if wanted.matches(change.entry)]


def _require_covered(export: Export, instant: datetime) -> None:
    if instant > export.until:
        raise InvalidInput(f"The export is of {export.until.isoformat()}: what changed after it, it does not tell.")


# -- output -----------------------------------------------------------------------------------------------------------


def _answer_lines(answer: ReplayedDecision, asked: AskedOfAnyPlace) -> Iterator[str]:
    told = answer.model_dump(mode="json")
    yield f"{'yes' if answer.decision else 'no'}: {answer.reason}"
    about = [asked.type, *asked.scope, *asked.field, *([asked.purpose] if asked.purpose is not None else [])]
    yield f"asked      {asked.client_id}, {asked.place}, {printable(', '.join(about))}"
    yield f"at         {told['at']}, as of revision {answer.revision}"
    if answer.grant_id is not None:
        until = f"valid until {told['valid_until']}" if answer.valid_until is not None else "without an end"
        yield f"grant      {printable(answer.grant_id)}{f', {until}' if answer.decision else ''}"
    if answer.decision:
        yield f"scopes     {', '.join(answer.scopes)}"
        yield f"fields     {', '.join(answer.fields)}"
    for each in told["because"]:
        yield f"because    #{each['number']}  {each['at']}  {printable(each['event'])}"


def _change_json(change: Change) -> str:
    return changing.shown(change).model_dump_json(by_alias=True, ensure_ascii=True)


def _change_line(change: Change) -> str:
    entry = change.entry
    about = (entry[name] or "-" for name in ("brin", "clientId", "grantId"))
    said = "; ".join(differences(change)) or "-"
    new = "new; " if change.before is None and entry["grantId"] is not None else ""
    return printable("  ".join([entry["at"], f"#{entry['number']}", entry["kind"], *about, new + said]))
