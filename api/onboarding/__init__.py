"""Onboarding of connections: applicants' routes without a token, and operators' routes of cases and steps."""
