"""Deadlines of three working days, by the Dutch calendar and Amsterdam time."""

from datetime import UTC, date, datetime, timedelta

import pytest

from models.vocabulary.working_days import AMSTERDAM, due_after, end_of, is_working_day

#: The arrival of an application, in Amsterdam time, and the end of the third working day after it, in UTC.
DUE: dict[str, tuple[str, str]] = {
    "a Monday": ("2026-09-07T10:00", "2026-09-10T22:00Z"),
    "a Tuesday": ("2026-09-08T10:00", "2026-09-11T22:00Z"),
    "a Wednesday: the weekend lies in between": ("2026-09-09T10:00", "2026-09-14T22:00Z"),
    "a Thursday": ("2026-09-10T10:00", "2026-09-15T22:00Z"),
    "a Friday": ("2026-09-11T10:00", "2026-09-16T22:00Z"),
    "a Saturday": ("2026-09-12T10:00", "2026-09-16T22:00Z"),
    "a Sunday": ("2026-09-13T10:00", "2026-09-16T22:00Z"),
    "the first minute of a day": ("2026-09-07T00:00", "2026-09-10T22:00Z"),
    "the last minute of a day": ("2026-09-07T23:59", "2026-09-10T22:00Z"),
    "the Friday before King's Day, a Monday": ("2026-04-24T10:00", "2026-04-30T22:00Z"),
    "King's Day itself": ("2026-04-27T10:00", "2026-04-30T22:00Z"),
    "King's Day on the Saturday before, since the 27th is a Sunday": ("2025-04-25T10:00", "2025-04-30T22:00Z"),
    "Liberation Day in a fifth year": ("2025-05-02T10:00", "2025-05-08T22:00Z"),
    "5 May in another year is a working day": ("2026-05-04T10:00", "2026-05-07T22:00Z"),
    "Maundy Thursday: Good Friday and Easter Monday lie in between": ("2026-04-02T10:00", "2026-04-09T22:00Z"),
    "Easter Sunday": ("2026-04-05T10:00", "2026-04-09T22:00Z"),
    "the day before Ascension Day": ("2026-05-13T10:00", "2026-05-19T22:00Z"),
    "Ascension Day itself": ("2026-05-14T10:00", "2026-05-19T22:00Z"),
    "the Friday before Whit Monday": ("2026-05-22T10:00", "2026-05-28T22:00Z"),
    "Christmas Eve on a Thursday": ("2026-12-24T10:00", "2026-12-30T23:00Z"),
    "Christmas Eve on a Wednesday": ("2025-12-24T10:00", "2025-12-31T23:00Z"),
    "between Christmas and New Year": ("2026-12-29T10:00", "2027-01-04T23:00Z"),
    "New Year's Eve": ("2026-12-31T10:00", "2027-01-06T23:00Z"),
    "before the clock goes back: due in winter time": ("2026-10-23T10:00", "2026-10-28T23:00Z"),
    "the night in which the clock goes back": ("2026-10-25T02:30", "2026-10-28T23:00Z"),
    "before the clock goes forward: due in summer time": ("2026-03-27T10:00", "2026-04-01T22:00Z"),
    "the day on which the clock goes forward": ("2026-03-29T12:00", "2026-04-01T22:00Z"),
    "the last winter days are due in winter time": ("2026-03-23T10:00", "2026-03-26T23:00Z"),
    "a leap day": ("2028-02-28T10:00", "2028-03-02T23:00Z"),
}


@pytest.mark.parametrize("case", DUE)
def test_a_reaction_is_due_when_the_third_working_day_is_over(case: str) -> None:
    came_in, due = DUE[case]
    moment = datetime.fromisoformat(came_in).replace(tzinfo=AMSTERDAM)
    expected = datetime.fromisoformat(due.replace("Z", ":00+00:00"))
    assert due_after(moment) == due_after(moment.astimezone(UTC)) == expected
    assert due_after(moment).utcoffset() == timedelta(0)


def test_the_day_of_an_application_is_the_day_in_amsterdam() -> None:
    """At 22:30 UTC in summer the next day has begun in Amsterdam."""
    assert due_after(datetime(2026, 9, 7, 22, 30, tzinfo=UTC)) == due_after(datetime(2026, 9, 8, 10, tzinfo=UTC))
    assert due_after(datetime(2026, 9, 7, 21, 30, tzinfo=UTC)) == due_after(datetime(2026, 9, 7, 10, tzinfo=UTC))


def test_the_promise_leaves_three_whole_working_days_for_every_hour_of_five_years() -> None:
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    while moment.year < 2030:
        local, last = moment.astimezone(AMSTERDAM), (due_after(moment) - timedelta(seconds=1)).astimezone(AMSTERDAM)
        days = [local.date() + timedelta(days=days) for days in range(1, (last.date() - local.date()).days + 1)]
        assert sum(is_working_day(day) for day in days) == 3
        assert is_working_day(last.date())
        assert (last.hour, last.minute) == (23, 59)
        moment += timedelta(hours=5)


@pytest.mark.parametrize(
    ("day", "ends"),
    [
        (date(2026, 7, 1), datetime(2026, 7, 1, 22, tzinfo=UTC)),
        (date(2026, 1, 1), datetime(2026, 1, 1, 23, tzinfo=UTC)),
        (date(2026, 10, 25), datetime(2026, 10, 25, 23, tzinfo=UTC)),
        (date(2026, 3, 29), datetime(2026, 3, 29, 22, tzinfo=UTC)),
    ],
)
def test_a_day_ends_at_midnight_in_amsterdam(day: date, ends: datetime) -> None:
    assert end_of(day) == ends
