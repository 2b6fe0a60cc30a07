"""The standard's SchoolReference: a school's RIO id, which is not kept here, or its ids in other registers."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from api.edu_v.status_codes import SCHOOL_UNKNOWN, EduVRefusal
from api.queries import school_rows
from api.queries.session import Session
from api.web.schemas import PRINTABLE, Wire, WireIn
from models.vocabulary.identifiers import is_place

#: OIE_CODE is the code of a recognised institution (BRIN). The other types are ids in registers that are not kept here.
IdType = Literal["OIE_CODE", "BP_ID", "DD_ID", "AS_ID"]
OIE_CODE: Final = "OIE_CODE"
SchoolId = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PRINTABLE)]


class NamedId(WireIn):
    organisation_id: SchoolId
    organisation_id_type: IdType


class NamedSchool(WireIn):
    """The standard's SchoolReference, as it comes in. A BRIN6 names a location."""

    organisation_master_identifier: Annotated[
        SchoolId | None, Field(description="A BRIN4 or BRIN6. Ids of RIO are not kept here.")
    ] = None
    organisation_ids: Annotated[list[NamedId] | None, Field(min_length=1, max_length=8)] = None

    @model_validator(mode="after")
    def _named(self) -> "NamedSchool":
        if self.organisation_master_identifier is None and self.organisation_ids is None:
            raise ValueError("name either organisationMasterIdentifier or organisationIds")
        return self

    @property
    def place(self) -> str:
        """The BRIN4 or BRIN6. Raises `EduVRefusal`."""
        listed = self.organisation_ids or ()
        coded = [each.organisation_id for each in listed if each.organisation_id_type == OIE_CODE]
        return place_of_ids(self.organisation_master_identifier, coded)


class OrganisationId(Wire):
    organisation_id: str
    organisation_id_type: IdType


class SchoolReference(Wire):
    """The standard's SchoolReference, as it goes out."""

    organisation_ids: list[OrganisationId]


def reference_to(place: str) -> SchoolReference:
    """The SchoolReference of a school or location."""
    return SchoolReference(organisation_ids=[OrganisationId(organisation_id=place, organisation_id_type=OIE_CODE)])


def place_of_ids(master: str | None, coded: list[str]) -> str:
    """The one place of these ids. A master id that is no BRIN (a RIO id) is ignored beside a code.

    Raises `EduVRefusal` for none, several, or an invalid one.
    """
    named = {*coded} | ({master} if master is not None and (is_place(master) or not coded) else set())
    if len(named) != 1 or not all(map(is_place, named)):
        raise unknown_school()
    return named.pop()


async def require_known_place(session: Session, place: str, own: str | None) -> None:
    """Raises the same `EduVRefusal` for a place that never existed and for one outside the caller's own school."""
    known = own in (None, place[:4]) and place[:4] in await school_rows.schools_named(session, [place[:4]])
    if known and len(place) > 4:
        known = place in [each.code for each in await school_rows.locations(session, place[:4])]
    if not known:
        raise unknown_school()


def unknown_school() -> EduVRefusal:
    """The refusal of an unknown school, and of another's: the two do not differ."""
    return EduVRefusal(SCHOOL_UNKNOWN, "There is no such school or location, or it is not yours.")
