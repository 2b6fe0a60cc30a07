"""All tables, gathered for the migrations."""

from sqlmodel import SQLModel

from models import agreements, events, grants, ground_rules, partners, schools

TABLES = (
    schools.Board,
    schools.School,
    schools.Location,
    partners.Partner,
    partners.Connection,
    agreements.Agreement,
    ground_rules.GroundRule,
    grants.Grant,
    events.Event,
    events.Revision,
    events.RememberedAnswer,
)
METADATA = SQLModel.metadata
