"""`privacy-manager deliver`, but it dies by `kill -9` at a point of a delivery that was chosen.

python -m tests.notifications.crashing_deliverer POINT NUMBER      at that point of the delivery with that number
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from api.cli.main import main
from api.notifications import delivery_queue
from api.notifications.sender import Sender

Call = Callable[..., Awaitable[Any]]

#: A point of a delivery: before or after what, and whether what came of it says that there is one.
POINTS: Final[dict[str, tuple[Any, str, bool]]] = {
    "before a lane is taken": (delivery_queue, "lease_lanes", False),
    "after a lane is taken": (delivery_queue, "lease_lanes", True),
    "before it is sent": (Sender, "send", False),
    "after the answer": (Sender, "send", True),
    "before it is noted": (delivery_queue, "record_result", False),
    "while it is noted": (delivery_queue, "_failing_since", True),
    "after it is noted": (delivery_queue, "record_result", True),
}


def deadly(call: Call, number: int, *, after: bool) -> Call:
    """The same, but the one with this number is the last thing that this process does."""
    left = number

    async def once(*given: Any, **named: Any) -> Any:
        nonlocal left
        if not after:
            left -= 1
        came = await call(*given, **named) if after or left else _die()
        # A look that finds nothing is no delivery.
        if after and came != []:
            left -= 1
        return came if left else _die()

    return once


def _die() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _deliver(point: str, number: int) -> None:
    if point:
        where, name, after = POINTS[point]
        setattr(where, name, deadly(getattr(where, name), number, after=after))
    sys.argv = ["privacy-manager", "deliver", "--at-once", "2"]
    main()


if __name__ == "__main__":
    # What is imported by then is imported once for all of them.
    for line in sys.stdin:
        asked, _, which = line.strip().rpartition(" ")
        if (child := os.fork()) == 0:
            os.close(0)
            _deliver(asked, int(which))
            sys.exit()
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
