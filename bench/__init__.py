"""Benchmarks: each figure a ratio to a reference that was measured in the same run."""
