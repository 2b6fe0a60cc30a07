"""Keys in the state that the server gives to requests and to the application's lifespan."""

from typing import Final

#: The `HoldingTransport` of the request's connection.
CONNECTION: Final = "connection"
#: A callable for the start of a shutdown, before the server waits for open answers.
ON_STOP: Final = "on_stop"
