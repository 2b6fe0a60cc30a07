"""The clock behind a store, and how long one waits for it (seconds)."""

from collections.abc import Callable
from datetime import datetime

#: Tests put a clock behind the store; without one, the store's own counts.
Clock = Callable[[], datetime]


#: A connection that is not made by then was begun when nobody listened. A busy machine may need a second.
CONNECT_SECONDS = 3


LOCK_WAIT_SECONDS = 5


STATEMENT_SECONDS = 30
