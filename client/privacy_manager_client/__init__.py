"""Client of the privacy manager, for partners and gateways in Python.

Gateway    asks whether data may be released now; everything but a clear permit in time is a deny
Partner    reads its consents, sends requests to schools, and follows changes
received   the content of a webhook, after verification of its signature
"""

from privacy_manager_client.bookmarks import Bookmarks, InFile
from privacy_manager_client.gateway import Decision, Gateway, Question
from privacy_manager_client.partner import Partner
from privacy_manager_client.problems import ClientError, Problem, Unavailable
from privacy_manager_client.tokens import ClientCredentials, Token
from privacy_manager_client.views import Asked, Change, Consent, NotAsked, Request
from privacy_manager_client.webhooks import NotVerified, Received, received

__all__ = [
    "Asked",
    "Bookmarks",
    "Change",
    "ClientCredentials",
    "ClientError",
    "Consent",
    "Decision",
    "Gateway",
    "InFile",
    "NotAsked",
    "NotVerified",
    "Partner",
    "Problem",
    "Question",
    "Received",
    "Request",
    "Token",
    "Unavailable",
    "received",
]
