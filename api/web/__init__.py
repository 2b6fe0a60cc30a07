"""Shared parts of routes: callers, schemas, paging, preconditions, idempotency, transactions, files, error handlers."""
