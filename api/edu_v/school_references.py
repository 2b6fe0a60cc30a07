"""How the standard names a school: by its id of RIO, which is not kept here, or by ids of other registers."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from api.edu_v.status_codes import SCHOOL_UNKNOWN, Told
from api.queries import school_rows
from api.queries.session import Session
from api.web.schemas import PRINTABLE, Wire, WireIn
from models.vocabulary.identifiers import is_place

#: OIE_CODE is the code of a recognised institution: BRIN. The others name schools in books that are not ours.
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
        """The BRIN4 or BRIN6. Raises `Told`."""
        listed = self.organisation_ids or ()
        coded = [each.organisation_id for each in listed if each.organisation_id_type == OIE_CODE]
        return place_named(self.organisation_master_identifier, coded)


class OrganisationId(Wire):
    organisation_id: str
    organisation_id_type: IdType


class SchoolReference(Wire):
    """The standard's SchoolReference, as it goes out."""

    organisation_ids: list[OrganisationId]


def reference_to(place: str) -> SchoolReference:
    """The school or location, as the standard names it."""
    return SchoolReference(organisation_ids=[OrganisationId(organisation_id=place, organisation_id_type=OIE_CODE)])


def place_named(master: str | None, coded: list[str]) -> str:
    """The one place that these name. An id of RIO says nothing here, where a code stands beside it. Raises `Told`."""
    named = {*coded} | ({master} if master is not None and (is_place(master) or not coded) else set())
    if len(named) != 1 or not all(map(is_place, named)):
        raise unknown_school()
    return named.pop()


async def require_known(session: Session, place: str, own: str | None) -> None:
    """Raises `Told` for a place that there never was, and just so for one that is not of the caller's own school."""
    known = own in (None, place[:4]) and place[:4] in await school_rows.schools_named(session, [place[:4]])
    if known and len(place) > 4:
        known = place in [each.code for each in await school_rows.locations(session, place[:4])]
    if not known:
        raise unknown_school()


def unknown_school() -> Told:
    """No school of this name, or not the caller's."""
    return Told(SCHOOL_UNKNOWN, "There is no such school or location, or it is not yours.")
