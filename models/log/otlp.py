"""Lines of the decision log as OpenTelemetry JSON (OTLP 1.x), in the shape of Logius' Logboek Dataverwerkingen.

Each decision is a span without duration. A line names no data subject, so those attributes are empty. Attributes of
our own are outside the namespace `dpl`, which is not ours to extend.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from models.log.logged_decisions import LoggedDecision

#: Default when no register of processing activities is named.
ACTIVITY: Final = "urn:school-privacy-manager:processing-activity:decision"

_SERVER: Final = 2


def traces_of(lines: Iterable[LoggedDecision], activity: str) -> dict[str, Any]:
    """An `ExportTraceServiceRequest` of the lines. `activity`: URI of the processing activity in a register."""
    spans = [_span(line, activity) for line in lines]
    scope = {"scope": {"name": "privacy_manager.decisions"}, "spans": spans}
    resource = {"attributes": _attributes({"service.name": "school-privacy-manager"})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}


def _name(line: LoggedDecision) -> str:
    return f"line {line.at.isoformat()} {line.id}"


def _span(line: LoggedDecision, activity: str) -> dict[str, Any]:
    # Without a trace id, the lines of one request share one made from its id, if that was stored.
    known = not line.request_id.startswith("?")
    trace_id = line.trace_id or _hex(f"request {line.request_id}" if known else f"of {_name(line)}", 32)
    moment = str(round(line.at.timestamp() * 1_000_000) * 1000)
    attributes = {
        "dpl.core.processing_activity_id": activity,
        "dpl.core.data_subject_id": "",
        "dpl.core.data_subject_id_type": "",
        "privacy_manager.client_id": line.client_id,
        "privacy_manager.place": line.place,
        "privacy_manager.type": line.resource_type,
        "privacy_manager.scopes": line.scopes,
        "privacy_manager.fields": line.fields_,
        "privacy_manager.purpose": line.purpose or "",
        "privacy_manager.decision": "permit" if line.permit else "deny",
        "privacy_manager.reason": line.reason,
        "privacy_manager.grant_id": line.grant_id or "",
        "privacy_manager.revision": str(line.revision),
        "privacy_manager.caller": f"{line.issuer} {line.subject}",
        "privacy_manager.request_id": line.request_id,
    }
    return {
        "traceId": trace_id,
        "spanId": _hex(_name(line), 16),
        "name": f"decision.{line.door}",
        "kind": _SERVER,
        "startTimeUnixNano": moment,
        "endTimeUnixNano": moment,
        "attributes": _attributes(attributes),
        # Unset: a deny, too, is a decision without an error.
        "status": {},
    }


def _hex(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _attributes(attributes: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
