"""The release layer as it runs, between the privacy manager and a LAS, asked by partners of many kinds."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import pytest

from tests.exchange import oracle
from tests.exchange.peers import las
from tests.exchange.peers.las import SECRET, Behaviour, Las
from tests.exchange.peers.partner import Partner
from tests.exchange.peers.running import Customer, Manager, Process, manager_in, release_layer_in
from tests.exchange.subsets import release_of

PROFILE: Final[list[str]] = json.loads((Path(__file__).parents[2] / "models/catalogue/scopes.json").read_text("utf-8"))[
    "profiles"
]["smalle-set@2.2"]

#: What each connection was granted by 16SW; of `locatierijk`, by one of its locations only.
GRANTED: Final[dict[str, list[str]]] = {
    "allesrijk": PROFILE,
    "leerlingrijk": ["school.basis", "leerling.pseudoniem", "leerling.jaargroep", "groep.basis"],
    "docentrijk": ["school.basis", "docent.pseudoniem", "docent.naam"],
    "locatierijk": ["school.basis", "leerling.pseudoniem"],
}
CUSTOMERS: Final = {
    client_id: Customer(client_id, f"K-{client_id}", f"Leermiddel {client_id} & Co", f"zqsleutel-{client_id}-7f3a")
    for client_id in [*GRANTED, "nietsrijk", "wisselrijk", "onbekend"]
}

#: What the log may not hold: a planted value, a key, an ECK iD.
TELLING: Final = re.compile(rf"zq\d{{6}}|{SECRET}|zqsleutel|zqmag|zqnooit|[0-9a-f]{{24}}|19[0-5]\d-\d\d-\d\d")


@dataclass
class Scene:
    """Everything between a partner and a LAS."""

    las: Las
    manager: Manager
    exchange: Process
    folder: Path

    @cached_property
    def partner(self) -> Partner:
        """A partner that knows the standard's service description: for a test that needs the standard."""
        return Partner(oracle.standard_folder(), self.exchange.url)

    def behaves(self, behaviour: Behaviour) -> None:
        """From now on the LAS does this, and nothing was asked of it yet."""
        self.las.behaviour = behaviour
        self.las.requests.clear()

    def release_of(self, client_id: str) -> oracle.Release:
        return release_of(GRANTED[client_id])


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("exchange")
    connections = [client_id for client_id in CUSTOMERS if client_id != "onbekend"]
    with Las(las.clean) as service, manager_in(folder, connections, PROFILE) as manager:
        for client_id, scopes in GRANTED.items():
            manager.grant(client_id, scopes, location="16SW01" if client_id == "locatierijk" else None)
        with release_layer_in(
            folder,
            las=service.url,
            manager=manager.url,
            token=manager.token("gateway"),
            customers=CUSTOMERS.values(),
        ) as exchange:
            yield Scene(service, manager, exchange, folder)
        found = TELLING.search(exchange.written())
        assert found is None, f"the log tells {found}"


@pytest.fixture
def scene(standing: Scene) -> Iterator[Scene]:
    """The standing scene, with a LAS that behaves; whatever happened, the release layer is still there afterwards."""
    standing.behaves(las.clean)
    yield standing
    assert standing.exchange.process.poll() is None, standing.exchange.written()[-2000:]
