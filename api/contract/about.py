"""What the contract says of itself, and the tags of its operations."""

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

#: How an error, a moment and a token look is said once, above; each tag says whom its operations are for.
TAGS: Final = [
    {
        "name": "schools",
        "description": "School administrators: what can be granted, and to grant and revoke it.",
    },
    {"name": "boards", "description": "Boards (bevoegd gezag): to grant for all their schools at once."},
    {"name": "partners", "description": "Partners: where a connection has permission, and what changed."},
    {"name": "requests", "description": "What partners ask of schools, and what the schools answer."},
    {
        "name": "deletions",
        "description": "What partners delete after a grant has ended, and by when.",
    },
    {"name": "reminders", "description": "A letter a week to who has something to look at, and where it goes."},
    {"name": "webhooks", "description": "Where partners are told of changes, and what was delivered."},
    {"name": "applicants", "description": "Anyone who wants to connect: an application, without a token."},
    {"name": "onboarding", "description": "The road from application to live, step by step."},
    {"name": "operators", "description": "The platform's operators: the register, its rules and what is due."},
    {"name": "incidents", "description": "The incident portal: partners report, consultants resolve."},
    {"name": "gateways", "description": "Gateways: may this be released, now? OpenID AuthZEN 1.0."},
    {"name": "decisions", "description": "The log of decisions: what was asked, and what was answered."},
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
    # The major version stands in each path; the host's first label repeats it for tools that look for it here.
    "servers": [{"url": "https://v1.privacy-manager.example"}],
    "openapi_tags": TAGS,
}
