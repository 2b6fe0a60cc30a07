"""The kinds of events, and the sets of kinds that concern one subject."""

from enum import StrEnum
from typing import Final


class EventKind(StrEnum):
    """The closed list of what can change."""

    GRANT_GRANTED = "grant.granted"
    GRANT_AMENDED = "grant.amended"
    GRANT_SUSPENDED = "grant.suspended"
    GRANT_RESUMED = "grant.resumed"
    GRANT_RECONFIRMATION_NEEDED = "grant.reconfirmation_needed"
    GRANT_RECONFIRMATION_ANNOUNCED = "grant.reconfirmation_announced"
    GRANT_REVOKED = "grant.revoked"
    GRANT_EXPIRED = "grant.expired"
    PARTNER_REGISTERED = "partner.registered"
    PARTNER_CHANGED = "partner.changed"
    CONNECTION_REGISTERED = "connection.registered"
    CONNECTION_CHANGED = "connection.changed"
    AGREEMENT_SIGNED = "agreement.signed"
    AGREEMENT_ENDED = "agreement.ended"
    GROUND_RULE_MET = "ground_rule.met"
    AGREEMENT_DOCUMENT_KEPT = "agreement.document_kept"
    GROUND_RULE_WITHDRAWN = "ground_rule.withdrawn"
    GROUND_RULE_NOT_KEPT = "ground_rule.not_kept"
    CONNECTION_MOVED = "connection.moved"
    CONNECTION_STOPPED = "connection.stopped"
    CONNECTION_STOP_LIFTED = "connection.stop_lifted"
    PARTNER_STOPPED = "partner.stopped"
    PARTNER_STOP_LIFTED = "partner.stop_lifted"
    CASE_APPLIED = "case.applied"
    CASE_STEP_TAKEN = "case.step_taken"
    INCIDENT_OPENED = "incident.opened"
    INCIDENT_CHANGED = "incident.changed"
    SCHOOLS_IMPORTED = "schools.imported"
    SCHOOLS_LISTED = "schools.listed"
    TEXTS_SEALED = "texts.sealed"
    STORE_REPLAYED = "store.replayed"
    STORE_CONFIRMED = "store.confirmed"
    ACTOR_ERASED = "actor.erased"
    REASON_ERASED = "reason.erased"
    SCHOOL_KEY_ADDED = "school.key_added"
    SCHOOL_KEY_REMOVED = "school.key_removed"
    DECISIONS_DIGESTED = "decisions.digested"
    REQUEST_MADE = "request.made"
    REQUEST_CHANGED = "request.changed"
    REQUEST_ACCEPTED = "request.accepted"
    REQUEST_DECLINED = "request.declined"
    REQUEST_WITHDRAWN = "request.withdrawn"
    DELETION_REQUIRED = "deletion.required"
    DELETION_CONFIRMED = "deletion.confirmed"
    DELETION_OVERDUE = "deletion.overdue"
    DELETION_LAPSED = "deletion.lapsed"
    REMINDER_GIVEN = "reminder.given"
    CONTACT_CHANGED = "contact.changed"
    CONSENT_REFERENCED = "consent.referenced"
    WEBHOOK_SUBSCRIBED = "webhook.subscribed"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_ROTATED = "webhook.rotated"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_ENABLED = "webhook.enabled"
    WEBHOOK_REMOVED = "webhook.removed"
    WEBHOOK_TESTED = "webhook.tested"
    WEBHOOK_REPLAYED = "webhook.replayed"


#: Kinds of entries that change facts of decisions: schools and the four sets below, and grants.
SCHOOLS: Final = frozenset({EventKind.SCHOOLS_IMPORTED, EventKind.SCHOOLS_LISTED})


PARTNERS: Final = frozenset(
    {
        EventKind.PARTNER_REGISTERED,
        EventKind.PARTNER_CHANGED,
        EventKind.PARTNER_STOPPED,
        EventKind.PARTNER_STOP_LIFTED,
    }
)


CONNECTIONS: Final = frozenset(
    {
        EventKind.CONNECTION_REGISTERED,
        EventKind.CONNECTION_CHANGED,
        EventKind.CONNECTION_MOVED,
        EventKind.CONNECTION_STOPPED,
        EventKind.CONNECTION_STOP_LIFTED,
    }
)


RULES: Final = frozenset({EventKind.GROUND_RULE_MET, EventKind.GROUND_RULE_NOT_KEPT, EventKind.GROUND_RULE_WITHDRAWN})


AGREEMENTS: Final = frozenset({EventKind.AGREEMENT_SIGNED, EventKind.AGREEMENT_ENDED})


GRANTS: Final = frozenset(kind for kind in EventKind if kind.startswith("grant."))


#: Access requests and deletion duties of partners. No decision depends on them.
REQUESTS: Final = frozenset(kind for kind in EventKind if kind.startswith("request."))


DELETIONS: Final = frozenset(kind for kind in EventKind if kind.startswith("deletion."))


#: References of the parties to a consent. No decision depends on them.
REFERENCES: Final = frozenset({EventKind.CONSENT_REFERENCED})


#: Changes of the state of a webhook subscription.
SUBSCRIPTIONS: Final = frozenset(
    {
        EventKind.WEBHOOK_SUBSCRIBED,
        EventKind.WEBHOOK_CHANGED,
        EventKind.WEBHOOK_ROTATED,
        EventKind.WEBHOOK_DISABLED,
        EventKind.WEBHOOK_ENABLED,
        EventKind.WEBHOOK_REMOVED,
    }
)
