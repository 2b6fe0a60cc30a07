"""Deletion duties after a grant has ended: their routes, their job, and the functions that grants call to end them."""
