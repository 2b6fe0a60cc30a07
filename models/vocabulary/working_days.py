"""Promises in working days, by the Dutch calendar and the clock of Amsterdam."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import holidays

AMSTERDAM: Final = ZoneInfo("Europe/Amsterdam")

#: Within so many working days the partner manager reacts to an application.
REACTION_DAYS: Final = 3

# The days that this library lists for the whole country; 5 May is one of them in every fifth year only.
_FREE: Final = holidays.country_holidays("NL")
_SATURDAY: Final = 5


def is_working_day(day: date) -> bool:
    """Whether `day` is neither in a weekend nor a Dutch public holiday."""
    return day.weekday() < _SATURDAY and day not in _FREE


def due_after(moment: datetime, working_days: int = REACTION_DAYS) -> datetime:
    """The instant, in UTC, at which so many working days after the day of `moment` are over.

    The day itself does not count, whatever the hour. A promise holds through its last day: it is due at the midnight
    that ends that day in Amsterdam, 22:00 or 23:00 UTC.
    """
    day = moment.astimezone(AMSTERDAM).date()
    left = working_days
    while left:
        day += timedelta(days=1)
        left -= is_working_day(day)
    return end_of(day)


def end_of(day: date) -> datetime:
    """The midnight that ends `day` in Amsterdam, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), AMSTERDAM).astimezone(UTC)
