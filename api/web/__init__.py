"""What routes share: callers, schemas, paging, preconditions, idempotency, transactions, files, error handlers."""
