"""How often something may happen, for each of many who do it: the generic cell rate algorithm (ITU-T I.371)."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import ceil
from typing import Final

#: Of how many it is remembered what they used up; of more, those that did nothing for longest are forgotten.
MOST_REMEMBERED: Final = 20_000


class TooMany(Exception):
    """The rate is used up; after these whole seconds it may be tried again."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.retry_after = max(1, ceil(seconds))


class Rates:
    """One rate for each of many: so often a second, and at most so many at once, which are then earned anew."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.burst = burst
        self._per_second = per_second
        self._clock = clock
        #: When all that each has done will have been earned (the theoretical arrival time).
        self._earned_at: OrderedDict[Hashable, float] = OrderedDict()

    @property
    def window(self) -> int:
        """Seconds in which a burst is earned."""
        return max(1, ceil(self.burst / self._per_second))

    def require(self, who: Hashable) -> None:
        """Raises `TooMany` where nothing is left. Nothing is counted."""
        beyond = self._beyond(self._earned_at.get(who, 0.0) + 1 / self._per_second)
        if beyond > 0:
            raise TooMany(beyond)

    def count(self, who: Hashable) -> int:
        """Counts one; how many are left. Raises `TooMany`, and counts nothing, where none was left."""
        self.require(who)
        earned_at = max(self._earned_at.get(who, 0.0), self._clock()) + 1 / self._per_second
        self._earned_at[who] = earned_at
        self._earned_at.move_to_end(who)
        if len(self._earned_at) > MOST_REMEMBERED:
            self._earned_at.popitem(last=False)
        return int(-self._beyond(earned_at) * self._per_second)

    def _beyond(self, earned_at: float) -> float:
        """Seconds by which that is more than a burst."""
        now = self._clock()
        return max(earned_at, now + 1 / self._per_second) - now - self.burst / self._per_second
