"""A receipt of a grant, a change of it or its revocation by a school, as in ISO/IEC TS 27560 with W3C DPV's terms.

A receipt records the controller's instruction to a processor (AVG art. 28(3)(a)), and says that it is not the data
subjects' consent. With the log's entry and its proof it can be verified offline by anyone who has the public keys.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from models.consents.agreements import Agreement
from models.consents.partners import Connection, RecipientRole
from models.consents.schools import School
from models.vocabulary import purposes, scopes
from models.vocabulary.event_kinds import EventKind

CONTEXT: Final = {
    "dct": "http://purl.org/dc/terms/",
    "dpv": "https://w3id.org/dpv#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "loc": "https://w3id.org/dpv/loc#",
    "pm": "https://privacy-manager.example/terms#",
}
SHAPE: Final = "https://w3id.org/dpv/schema/dpv-27560#record"
INSTRUCTION: Final = (
    "Documented instruction of the controller to the processor under their agreement (AVG art. 28(3)(a)). "
    "It is not the data subjects' consent; the controller states its own legal basis of art. 6(1)."
)
#: The text for a recipient that is a controller itself.
PROVISION: Final = (
    "Decision of the controller to provide the data to another controller. It is not the data subjects' consent; each "
    "of the two states its own legal basis of art. 6(1)."
)
IN_DUTCH: Final = {
    INSTRUCTION: (
        "Dit is een instructie van de school als verwerkingsverantwoordelijke aan haar verwerker (AVG art. 28 lid 3 "
        "onder a), en geen toestemming van betrokkenen. De school vermeldt zelf haar grondslag van art. 6 lid 1."
    ),
    PROVISION: (
        "Dit is een besluit van de school om gegevens te verstrekken aan een andere verwerkingsverantwoordelijke, en "
        "geen toestemming van betrokkenen. Ieder van beide vermeldt zelf de eigen grondslag van art. 6 lid 1."
    ),
}
#: The kinds of events that have a receipt, with their names in Dutch and English.
HAPPENINGS: Final[Mapping[str, tuple[str, str]]] = {
    EventKind.GRANT_GRANTED: ("Toestemming verleend", "Permission granted"),
    EventKind.GRANT_AMENDED: ("Toestemming gewijzigd", "Permission amended"),
    EventKind.GRANT_SUSPENDED: ("Toestemming opgeschort", "Permission suspended"),
    EventKind.GRANT_RESUMED: ("Toestemming hervat", "Permission resumed"),
    EventKind.GRANT_REVOKED: ("Toestemming ingetrokken", "Permission revoked"),
    EventKind.GRANT_EXPIRED: ("Toestemming verlopen", "Permission expired"),
    EventKind.GRANT_RECONFIRMATION_NEEDED: ("Herbevestiging nodig", "Reconfirmation needed"),
    EventKind.GRANT_RECONFIRMATION_ANNOUNCED: ("Herbevestiging aangekondigd", "Reconfirmation announced"),
}
_SUBJECTS: Final = {"leerling": "dpv:Student", "docent": "dpv:Employee"}


class ReceiptContext(NamedTuple):
    """The rows that a receipt describes beside its entry: the school, the connection, and the agreement if any."""

    school: School
    connection: Connection
    agreement: Agreement | None


def record(entry: Mapping[str, Any], context: ReceiptContext) -> dict[str, Any]:
    """The record of one entry about a grant, as JSON-LD."""
    state = entry["state"]
    return {
        "@context": CONTEXT,
        "@type": ["pm:InstructionReceipt", "dpv:RecordsOfActivities"],
        "dct:conformsTo": SHAPE,
        "dct:identifier": f"{state['grantId']}/{entry['number']}",
        "dct:date": entry["at"],
        "pm:event": entry["kind"],
        "pm:status": state["status"],
        "dpv:hasJurisdiction": "loc:NL",
        "dpv:hasApplicableLaw": "eu-gdpr:GDPR",
        "dpv:hasDataController": _controller(state, context.school),
        "dpv:hasDataSubject": _subjects(state),
        "dpv:hasLegalBasis": _basis(context),
        "dpv:hasProcess": _process(state, context),
        "dpv:hasDuration": {"dct:valid": {"from": state["validFrom"], "until": state["validUntil"]}},
    }


def _controller(state: Mapping[str, Any], school: School) -> dict[str, Any]:
    return {
        "@type": "dpv:DataController",
        "dct:title": school.name,
        "pm:brin": state["school"],
        "pm:location": state["location"],
        "pm:boardNumber": school.board_number,
    }


def _subjects(state: Mapping[str, Any]) -> list[str]:
    types = {scopes.CATALOGUE.scopes[name].type for name in state["scopes"]}
    return sorted(_SUBJECTS[kind] for kind in types if kind in _SUBJECTS)


def _basis(context: ReceiptContext) -> dict[str, Any]:
    agreement = context.agreement
    basis = {"@type": "dpv:ControllerProcessorAgreement", "dct:description": INSTRUCTION}
    if context.connection.recipient_role == RecipientRole.CONTROLLER:
        basis = {"@type": "dpv:LegalBasis", "dct:description": PROVISION}
    if agreement is None:
        return basis
    return {
        **basis,
        "dct:identifier": agreement.agreement_id,
        "dct:hasVersion": agreement.agreement_version,
        "dct:date": agreement.signed_on.isoformat(),
        "dpv:hasNotice": {"@type": "dpv:PrivacyNotice", "dct:hasVersion": agreement.privacybijsluiter_version},
    }


def _process(state: Mapping[str, Any], context: ReceiptContext) -> dict[str, Any]:
    agreement, is_processor = context.agreement, context.connection.recipient_role == RecipientRole.PROCESSOR
    return {
        "@type": "dpv:Process",
        "dpv:hasPurpose": [_purpose(code) for code in state["purposes"]],
        "dpv:hasPersonalData": [_data(name) for name in state["scopes"]],
        "dpv:hasDataProcessor" if is_processor else "dpv:hasRecipientDataController": {
            "@type": "dpv:DataProcessor" if is_processor else "dpv:DataController",
            "dct:title": state["partner"]["name"],
            "pm:kvkNumber": state["partner"]["kvkNumber"],
            "pm:clientId": state["clientId"],
            "pm:connection": context.connection.name,
        },
        "dpv:hasRecipient": [
            {"@type": "dpv:DataSubProcessor", "dct:title": each["name"], "dpv:hasCountry": f"loc:{each['country']}"}
            for each in (agreement.sub_processors if agreement is not None else ())
        ],
        "dpv:hasStorageCondition": {
            "@type": "dpv:StorageCondition",
            "dpv:hasLocation": [f"loc:{country}" for country in (agreement.storage_countries if agreement else ())],
            "pm:retentionDaysAfterEnd": agreement.retention_days if agreement is not None else None,
        },
    }


def _purpose(code: str) -> dict[str, str]:
    purpose = purposes.PURPOSES.get(code)
    return {"@type": "dpv:Purpose", "dct:identifier": code, "dct:title": purpose.title if purpose else code}


def _data(name: str) -> dict[str, Any]:
    scope = scopes.CATALOGUE.scopes[name]
    return {"@type": "dpv:PersonalData", "dct:identifier": name, "pm:type": scope.type, "pm:fields": list(scope.fields)}
