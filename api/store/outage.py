"""Why a store cannot be believed now: it does not answer, or its history is another one."""


class StoreUnreachable(Exception):
    """The store did not answer, or not in time. After a write this means: outcome unknown, repeat it with its key."""


class StoreBehind(Exception):
    """The store's history is not the one that this process has seen: a restored backup, or a lagging copy."""
