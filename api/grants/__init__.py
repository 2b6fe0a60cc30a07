"""Grants, offers, access requests and consents: routes of schools, boards and partners, and the expiry job."""
