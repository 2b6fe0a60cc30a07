"""The past: replayed decisions, differences, the decision log, its daily digests and its retention."""
