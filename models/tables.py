"""All tables, gathered for the migrations."""

from sqlmodel import SQLModel

from models import events, grants, partners, schools

TABLES = (
    schools.Board,
    schools.School,
    schools.Location,
    partners.Partner,
    partners.Connection,
    partners.Agreement,
    partners.GroundRule,
    grants.Grant,
    events.Event,
    events.Revision,
    events.RememberedAnswer,
)
METADATA = SQLModel.metadata
