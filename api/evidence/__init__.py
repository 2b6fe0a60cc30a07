"""Evidence of changes: log and proofs, receipts, exports, witness, key custody, erasure, recovery from a backup."""
