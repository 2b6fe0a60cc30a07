"""Readings of the log alone: replayed decisions, differences, latest states, receipts, the register of processing."""
