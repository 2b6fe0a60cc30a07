"""All tables, gathered for the migrations."""

from sqlmodel import SQLModel

from models.consents import (
    agreements,
    deletions,
    files,
    grants,
    ground_rules,
    incidents,
    onboarding,
    partners,
    references,
    reminders,
    requests,
    schools,
    webhooks,
)
from models.log import events, logged_decisions, sealed_texts

TABLES = (
    schools.Board,
    schools.School,
    schools.Location,
    schools.SchoolKey,
    partners.Partner,
    partners.Connection,
    agreements.Agreement,
    ground_rules.GroundRule,
    grants.Grant,
    requests.AccessRequest,
    deletions.DeletionDuty,
    reminders.Letter,
    reminders.Contact,
    references.ConsentReference,
    onboarding.Case,
    onboarding.CaseStep,
    incidents.Incident,
    incidents.IncidentEntry,
    files.StoredFile,
    files.FileChunk,
    events.Event,
    events.Revision,
    events.LogNode,
    events.RememberedAnswer,
    sealed_texts.SealedText,
    logged_decisions.LoggedDecision,
    webhooks.WebhookSubscription,
    webhooks.WebhookMessage,
    webhooks.WebhookLane,
    webhooks.WebhookAttempt,
)
METADATA = SQLModel.metadata
