"""The log of all changes: events, canonical entries, Merkle tree, signed notes, sealed texts, decision lines."""
