"""Tokens, trusted issuers, strict JSON, keys and sealed texts; knows no other room of `api`."""
