"""Decisions for gateways: AuthZEN evaluation and search, forward-auth and metadata; no ORM in the hot path."""
