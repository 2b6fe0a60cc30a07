"""Records the examples of both contracts from a service that answers: `python -m tests.contract.record_examples`.

Examples that are in the files stay; only missing ones are recorded. To renew one, remove it from its file first.
"""

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from api.contract.document import operations_of
from api.contract.examples import EXAMPLES
from api.contract.text import as_text
from api.edu_v.contract import EXAMPLES as EDU_V_EXAMPLES
from api.edu_v.door import documented_door
from api.store.migrations import migrate
from tests.edu_v.test_edu_v_door import ALL, MESSAGES
from tests.edu_v.test_edu_v_door import call as call_edu_v
from tests.worlds.operations import CONTRACT, ENTRIES, OPERATIONS, scene_in
from tests.worlds.world import world_on

#: Names of the tests' world, as a reader of the contract would rather see them.
FRIENDLIER: Final = (
    (r"\bkoppeling-\d+\b", "rekenrijk-web"),
    (r"\bSchool 16SW\b", "Basisschool De Regenboog"),
    (r"\bLocatie 16SW00\b", "De Regenboog, Dorpsstraat"),
    (r"\bPartner \d+\b", "Uitgeverij Rekenrijk"),
    (r"\b9000\d{4}\b", "90000001"),
)
#: Of what is no JSON and no file of bytes, an example is the text itself.
TEXTS: Final = ("text/plain", "text/csv", "text/html")
#: A list of objects shows one of them.
SHOWN: Final = 1

Recorded = dict[str, Any]


def named(schema: dict[str, Any]) -> tuple[str, bool] | None:
    """The component that a body is, and whether the body is a list of it. None for a text."""
    if schema.get("type") == "array":
        found = named(schema["items"])
        return (found[0], True) if found else None
    options = schema.get("anyOf", [schema])
    return next(((each["$ref"].rpartition("/")[2], False) for each in options if "$ref" in each), None)


def _shortened(value: Any) -> Any:
    if isinstance(value, list):
        kept = value[:SHOWN] if value and isinstance(value[0], dict) else value
        return [_shortened(each) for each in kept]
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in value.items()}
    return value


def _kept(value: Any) -> Any:
    text = json.dumps(_shortened(value), ensure_ascii=False)
    for pattern, friendlier in FRIENDLIER:
        text = re.sub(pattern, friendlier, text)
    return json.loads(text)


def _of_success(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            yield from response.get("content", {}).items()


def _keep(found: Recorded, operation: dict[str, Any], body: Any, answer: Any) -> None:
    request = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if request is not None and (name := named(request["schema"])) is not None:
        found.setdefault(name[0], _kept(body))
    for media_type, content in _of_success(operation):
        if media_type == "application/json" and (name := named(content["schema"])) is not None:
            items = answer.json()
            if name[1]:
                found.setdefault(name[0], _kept(items)[0]) if items else None
            else:
                known = found.get(name[0])
                empty = known is not None and known.get("items") == []
                if known is None or (empty and items["items"]):
                    found[name[0]] = _kept(items)
        elif media_type in TEXTS:
            found.setdefault(operation["operationId"], _kept(answer.text))


async def _record(folder: Path) -> tuple[Recorded, Recorded]:
    store_url = f"sqlite+aiosqlite:///{folder}/store.db"
    await asyncio.to_thread(migrate, store_url)
    ours, edu_v = dict(EXAMPLES), dict(EDU_V_EXAMPLES)
    async with world_on(store_url, folder) as world:
        for name, operation in OPERATIONS.items():
            scene = await scene_in(world)
            if (before := ENTRIES[name].before) is not None:
                await before(scene)
            body = ENTRIES[name].body
            sent = body(scene) if body is not None else None
            answer = await scene.call(operation, content=json.dumps(sent).encode() if sent is not None else None)
            assert answer.status_code < 300, (name, answer.text)
            _keep(ours, operation.document, sent, answer)
        by_id = {each["operationId"]: each for _, _, each in operations_of(documented_door().openapi())}
        for name in ALL:
            scene = await scene_in(world)
            sent = MESSAGES[name][2](scene) if name in MESSAGES else None
            answer = await call_edu_v(scene, name, **({} if sent is None else {"content": json.dumps(sent).encode()}))
            assert answer.status_code < 300, (name, answer.text)
            _keep(edu_v, by_id[name], sent, answer)
    ours["PartnerOfToken"] = {"clientId": "rekenrijk-web"}
    return ours, edu_v


def main() -> None:
    root = Path(__file__).parents[2] / "api"
    with tempfile.TemporaryDirectory() as folder:
        ours, edu_v = asyncio.run(_record(Path(folder)))
    (root / "contract" / "examples.json").write_text(as_text(ours), encoding="utf-8")
    (root / "edu_v" / "examples.json").write_text(as_text(edu_v), encoding="utf-8")
    print(f"{len(ours)} examples of {len(CONTRACT['paths'])} paths; {len(edu_v)} of the Edu-V door")


if __name__ == "__main__":
    main()
