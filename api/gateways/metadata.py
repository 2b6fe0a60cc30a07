"""What gateways find out by themselves: where this decision point is and what can be asked of it (AuthZEN 1.0, 9)."""

import re
from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from models.vocabulary.refusals import InvalidInput

router = APIRouter(tags=["gateways"])

#: Open to anyone, as whoever looks for it has no token yet.
METADATA: Final = "/.well-known/authzen-configuration"

#: A name or an IPv4 address, or an IPv6 address in brackets, and a port; nothing that could end a URL's host early.
_HOST: Final = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(:[1-9][0-9]{0,4})?")


class Metadata(BaseModel):
    """AuthZEN 1.0, 9.1, whose names these are. Without `capabilities`: none are registered, and empty is left out."""

    model_config = ConfigDict(frozen=True)

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str


# Not in the published contract, whose rules allow no dot there; it is the standard that publishes it.
@router.get(METADATA, include_in_schema=False)
async def metadata(request: Request, response: Response) -> Metadata:
    """Where the decision point is, and each of its endpoints."""
    base: str = request.app.state.public_url
    if base:
        # The same for everyone who asks, and it seldom changes (11.9).
        response.headers["Cache-Control"] = "max-age=3600"
    else:
        base = _as_reached(request)
    return Metadata(
        policy_decision_point=base,
        access_evaluation_endpoint=f"{base}/access/v1/evaluation",
        access_evaluations_endpoint=f"{base}/access/v1/evaluations",
        search_subject_endpoint=f"{base}/access/v1/search/subject",
        search_resource_endpoint=f"{base}/access/v1/search/resource",
        search_action_endpoint=f"{base}/access/v1/search/action",
    )


def _as_reached(request: Request) -> str:
    """The scheme and host of this request. Raises `InvalidInput` for a host that none can be."""
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0].lower()) is None:
        raise InvalidInput("The request's Host is not a host.")
    return f"{request.url.scheme}://{hosts[0].lower()}"
