"""Measures a policy library on the same grants, in an environment of its own, without this project.

`python library_probe.py LIBRARY GRANTS QUESTIONS SECONDS`: the grants are tab-separated lines of client, school,
status, begin and end; the questions the same of client, school, scope, purpose and the right answer. Prints JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

SCOPES = ("school.basis", "leerling.pseudoniem", "leerling.naam")
PURPOSE = "onderwijs-en-begeleiding"

CASBIN_MODEL = """
[request_definition]
r = sub, obj, act, purpose
[policy_definition]
p = sub, obj, act, purpose
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act && r.purpose == p.purpose
"""

CEDAR_POLICY = """
permit (principal, action == Action::"release", resource) when {
  resource.partner == principal && resource.status == "granted" &&
  resource.begins <= context.now && context.now < resource.ends &&
  resource.scopes.contains(context.scope) && resource.purposes.contains(context.purpose)
};
"""

Question = Sequence[str]
Ask = Callable[[Question], bool]


def casbin_by_key(grants: list[list[str]]) -> Ask:
    """pycasbin's FastEnforcer, which indexes policies by subject and object."""
    import casbin  # type: ignore[import-not-found]

    enforcer = casbin.FastEnforcer(_casbin_model(), _casbin_policy(grants), cache_key_order=[0, 1])
    return lambda asked: bool(enforcer.enforce(*asked[:4]))


def casbin_in_order(grants: list[list[str]]) -> Ask:
    """pycasbin's Enforcer, which tries all policies in order."""
    import casbin

    enforcer = casbin.Enforcer(_casbin_model(), _casbin_policy(grants))
    return lambda asked: bool(enforcer.enforce(*asked[:4]))


def _casbin_model() -> str:
    path = Path(sys.argv[2]).with_name("casbin-model.conf")
    path.write_text(CASBIN_MODEL, encoding="utf-8")
    return str(path)


def _casbin_policy(grants: Iterable[Sequence[str]]) -> str:
    """One policy line for each scope of a grant in force: the library has no sets, and no time."""
    path = Path(sys.argv[2]).with_name("casbin-policy.csv")
    with path.open("w", encoding="utf-8") as file:
        for client, school, status, _, _ in grants:
            if status == "granted":
                file.writelines(f"p, {client}, {school}, {scope}, {PURPOSE}\n" for scope in SCOPES)
    return str(path)


def cedar(grants: list[list[str]]) -> Ask:
    """cedarpy, with policy and grants parsed once."""
    import cedarpy  # type: ignore[import-not-found]

    entities = cedarpy.Entities.from_json_str(json.dumps([_entity(*grant) for grant in grants]))
    policies = cedarpy.PolicySet.from_str(CEDAR_POLICY)
    now = int(time.time())

    def ask(asked: Question) -> bool:
        client, school, scope, purpose = asked[:4]
        request = {
            "principal": {"type": "Partner", "id": client},
            "action": {"type": "Action", "id": "release"},
            "resource": {"type": "Grant", "id": f"{client} {school}"},
            "context": {"scope": scope, "purpose": purpose, "now": now},
        }
        return bool(cedarpy.is_authorized(request, policies, entities).allowed)

    return ask


def _entity(client: str, school: str, status: str, begins: str, ends: str) -> dict[str, Any]:
    return {
        "uid": {"type": "Grant", "id": f"{client} {school}"},
        "attrs": {
            "partner": {"__entity": {"type": "Partner", "id": client}},
            "status": status,
            "begins": int(begins),
            "ends": int(ends),
            "scopes": list(SCOPES),
            "purposes": [PURPOSE],
        },
        "parents": [],
    }


LIBRARIES: dict[str, Callable[[list[list[str]]], Ask]] = {
    "casbin, by key": casbin_by_key,
    "casbin, in order": casbin_in_order,
    "cedarpy": cedar,
}


def main() -> None:
    library, grants_file, questions_file, seconds = sys.argv[1:]
    questions = [line.split("\t") for line in Path(questions_file).read_text(encoding="utf-8").splitlines()]
    before, started = _resident_bytes(), time.perf_counter()
    grants = [line.split("\t") for line in Path(grants_file).read_text(encoding="utf-8").splitlines()]
    many = len(grants)
    ask = LIBRARIES[library](grants)
    del grants
    loaded, taken = time.perf_counter() - started, _resident_bytes() - before
    done, wrong = 0, 0
    started = time.perf_counter()
    while time.perf_counter() - started < float(seconds):
        asked = questions[done % len(questions)]
        wrong += ask(asked) is not (asked[4] == "True")
        done += 1
    per_second = done / (time.perf_counter() - started)
    print(
        json.dumps({"per_second": per_second, "load_seconds": loaded, "bytes": taken, "grants": many, "wrong": wrong})
    )


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
