"""The service: HTTP routes, tokens, sessions, jobs and settings. It does the I/O; every rule stands in `models`."""
