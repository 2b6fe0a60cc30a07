"""The same framings, against the commands `serve` and `exchange` as they run: what is right is answered as it is."""

import json
from collections.abc import Iterator

import pytest

from tests.edge.connections import sent
from tests.edge.framings import FRAMINGS, RIGHT, Door, Framing
from tests.edge.test_framings import assert_answered, segments_of
from tests.exchange.peers import las
from tests.exchange.peers.las import Las
from tests.exchange.peers.raw import verzoek
from tests.exchange.peers.running import Customer, Process, manager_in, release_layer_in
from tests.worlds.world import question

CUSTOMER = Customer("rekenrijk", "K-rekenrijk", "Rekenrijk", "zqsleutel-rekenrijk-7f3a")
SCOPES = ["school.basis", "leerling.pseudoniem", "groep.basis"]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Process, Door]]]:
    folder = tmp_path_factory.mktemp("edge")
    with Las(las.clean) as service, manager_in(folder, [CUSTOMER.client_id], SCOPES) as manager:
        manager.grant(CUSTOMER.client_id, SCOPES)
        token = manager.token("gateway")
        asked = json.dumps(question(CUSTOMER.client_id)).encode()
        authorized = b"Authorization: Bearer " + token.encode() + b"\r\n"
        with release_layer_in(
            folder, las=service.url, manager=manager.url, token=token, customers=[CUSTOMER]
        ) as exchange:
            yield {
                "serve": (manager, Door(b"/access/v1/evaluation", asked, authorized)),
                "exchange": (exchange, Door(b"/uwlr", verzoek("leerlinggegevens", CUSTOMER))),
            }


async def test_every_framing_is_answered_as_it_was_meant_or_refused(doors: dict[str, tuple[Process, Door]]) -> None:
    """Of half a question no decision comes, and of half a request no release."""
    wrong = []
    for command, (process, door) in doors.items():
        for framing in FRAMINGS:
            [whole, *cut] = segments_of(framing, door)
            # In one segment, and in two, cut behind the first head; `test_framings` cuts everywhere.
            end = framing.bytes_for(door).find(b"\r\n\r\n") + 4
            for how, segments in [whole, *(each for each in cut if each[0].endswith(f" {end}"))]:
                try:
                    got = await sent(("127.0.0.1", process.port), segments)
                    assert_answered(framing, got, how)
                    if framing in RIGHT:
                        assert [status for status, _ in got.answers].count(200) == questions_in(framing, door), got
                except (AssertionError, TimeoutError) as error:
                    wrong.append(f"{command}: {framing.name}, {error!r:.300}")
    assert not wrong, "\n".join(wrong)


def questions_in(framing: Framing, door: Door) -> int:
    """How many requests of a framing ask the door; the others ask for what is not there."""
    return 1 if "behind it" in framing.name else framing.made(door).count(b"POST " + door.target)
