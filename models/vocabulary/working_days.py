"""Deadlines in working days, by the Dutch calendar and Amsterdam time."""

from collections.abc import Container
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

AMSTERDAM: Final = ZoneInfo("Europe/Amsterdam")

#: Working days within which the partner manager must react to an application.
REACTION_DAYS: Final = 3

_SATURDAY: Final = 5


def is_working_day(day: date) -> bool:
    """Whether `day` is neither in a weekend nor a Dutch public holiday."""
    return day.weekday() < _SATURDAY and day not in _free()


def due_after(moment: datetime, working_days: int = REACTION_DAYS) -> datetime:
    """The deadline, in UTC, that is `working_days` working days after the day of `moment`.

    The day itself does not count, whatever the hour. A deadline is the midnight in Amsterdam that ends its last day:
    22:00 or 23:00 UTC.
    """
    day = moment.astimezone(AMSTERDAM).date()
    left = working_days
    while left:
        day += timedelta(days=1)
        left -= is_working_day(day)
    return end_of(day)


def end_of(day: date) -> datetime:
    """The midnight in Amsterdam that ends `day`, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), AMSTERDAM).astimezone(UTC)


def load_holidays() -> None:
    """Loads the calendar, which takes a tenth of a second: a process that answers requests does so before the first."""
    _free()


@cache
def _free() -> Container[date]:
    """National public holidays of the `holidays` library; 5 May is one only every fifth year."""
    import holidays

    return holidays.country_holidays("NL")
