"""The Edu-V Consent API: the same consents in another contract, by the same rules, on the same store.

`docs/edu-v.md` says what the standard says, and where we had to choose.
"""
