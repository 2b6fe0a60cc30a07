"""The door of the Edu-V Consent API: another language for the same consents, by the same rules, on the same store.

What the standard says, and where we had to choose, is in `docs/edu-v.md`.
"""
