"""The snapshot that decisions read, how it stays current, and the storing of decision lines; no ORM, no FastAPI."""
