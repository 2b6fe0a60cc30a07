"""What the log's entries alone tell: replayed decisions, differences, latest states, receipts, the register."""
