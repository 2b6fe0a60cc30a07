"""`decide()` with the facts and the snapshot that it reads: pure; knows the vocabulary alone, and no tables."""
