"""Rows for a caller, always scoped by tenant, one file a subject; knows tables, and neither HTTP nor decisions."""
