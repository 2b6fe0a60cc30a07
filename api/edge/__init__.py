"""Before any route: the server, request context, authentication and problems; no FastAPI, no tables."""
