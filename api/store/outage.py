"""Errors of a store that cannot be trusted now: it does not answer, or its history is another one."""


class StoreUnreachable(Exception):
    """The store did not answer in time. After a write the outcome is unknown: retry it with its Idempotency-Key."""


class StoreBehind(Exception):
    """The store's history is not the one that this process has seen: a restored backup, or a lagging copy."""
