"""Fields that the messages of schools and of partners share."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from api.web.schemas import UUID_PATTERN

#: A UUID, which is lowered as RFC 9562 writes it: capitals are the same reference.
Reference = Annotated[
    str,
    StringConstraints(pattern=UUID_PATTERN.replace("a-f", "a-fA-F"), max_length=36),
    AfterValidator(str.lower),
    Field(description="A UUID of your own."),
]
OurApi = Literal["uwlr-api"]
