"""How the world reaches it: HTTP, tokens, sessions, settings. Does I/O, decides nothing itself."""
