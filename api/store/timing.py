"""The clock of a store, and its timeouts (seconds)."""

from collections.abc import Callable
from datetime import datetime

#: A clock injected by tests; without one, the store's own counts.
Clock = Callable[[], datetime]


#: A connection that takes longer was begun while the server was away; a busy machine may need a second.
CONNECT_SECONDS = 3


LOCK_WAIT_SECONDS = 5


STATEMENT_SECONDS = 30
