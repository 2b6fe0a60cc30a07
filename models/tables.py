"""All tables, gathered for the migrations."""

from sqlmodel import SQLModel

from models import (
    agreements,
    decision_log,
    deletions,
    events,
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
    sealed,
)

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
    sealed.SealedText,
    decision_log.LoggedDecision,
)
METADATA = SQLModel.metadata
