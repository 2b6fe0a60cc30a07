"""Results made from the log alone: replayed decisions, differences, latest states, receipts, register of processing."""
