"""Title, description and contact of the contract, and the tags of its operations."""

from typing import Any, Final

from api.edge.request_context import API_VERSION

CONTACT: Final = {
    "name": "School privacy manager",
    "url": "https://privacy-manager.example/",
    "email": "beheer@privacy-manager.example",
}

DESCRIPTION: Final = """\
Schools grant registered partners access to data scopes of UWLR, and take that back. Gateways ask before each release
of data whether it is permitted now (OpenID AuthZEN 1.0, or forward-auth).

- A bearer token names the caller's role: `school`, `board`, `partner`, `gateway` or `operator`. What belongs to another
  caller answers 404, as what does not exist.
- Errors are problem documents (RFC 9457); their `type` is one of a closed list. Bad input is 400.
- A write takes an `Idempotency-Key`, an amendment `If-Match` with the `ETag` that was read.
- A list is `{items, next}`; `next` is the `cursor` of the following part, null at the end.
- Moments are RFC 3339, in UTC.
"""

#: The tags; each operation has one. A description begins with the role that the operations are for.
TAGS: Final = [
    {
        "name": "schools",
        "description": "School administrators: what can be granted, and to grant and revoke it.",
    },
    {"name": "boards", "description": "Boards (bevoegd gezag): to grant for all their schools at once."},
    {"name": "partners", "description": "Partners: where a connection has permission, and what changed."},
    {"name": "requests", "description": "Requests of partners for permission, and the answers of schools."},
    {
        "name": "deletions",
        "description": "The duty of a partner to delete data after a grant has ended, and its deadline.",
    },
    {"name": "reminders", "description": "The weekly letters of reminders, and the addresses that they are sent to."},
    {"name": "webhooks", "description": "Webhooks of partners: subscriptions, deliveries, dead letters."},
    {"name": "applicants", "description": "Applications of companies that want a connection. They need no token."},
    {"name": "onboarding", "description": "The steps from application to live."},
    {
        "name": "operators",
        "description": "Operators of the platform: partners, connections, agreements, ground rules, due dates.",
    },
    {"name": "incidents", "description": "The incident portal: partners report, consultants resolve."},
    {"name": "gateways", "description": "Gateways: may this be released, now? OpenID AuthZEN 1.0."},
    {"name": "decisions", "description": "The log of decisions: each question of a gateway with its answer."},
    {
        "name": "evidence",
        "description": "The log of all changes, with proofs and receipts.",
    },
    {"name": "health", "description": "Whether the service lives and is ready."},
]

ABOUT: Final[dict[str, Any]] = {
    "title": "School privacy manager",
    "version": API_VERSION,
    "summary": "Which schools granted which partners access to which data scopes; may this be released, now?",
    "description": DESCRIPTION,
    "contact": CONTACT,
    "license_info": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    # Each path has the major version; the host's first label repeats it for tools that read it from the server's URL.
    "servers": [{"url": "https://v1.privacy-manager.example"}],
    "openapi_tags": TAGS,
}
