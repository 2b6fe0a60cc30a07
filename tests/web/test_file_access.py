"""Files sent again, too many of them, and who may hand in and read which."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from api.web.write_request import WriteRequest, opened
from tests.grants.test_grants import problem
from tests.web.upload_desk import HTML, MEGABYTE, PDF, TEXT, Desk, a_pdf_of, an_incident, desk_of, in_parts, never, told
from tests.worlds.world import BASIS, PURPOSE, Answer, World


@pytest.fixture
async def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return await desk_of(world, tmp_path, monkeypatch)


# -- the same file again ----------------------------------------------------------------------------------------------


async def test_the_same_file_under_the_same_key_gets_the_same_answer_and_is_kept_once(desk: Desk) -> None:
    content = a_pdf_of(2 * MEGABYTE)
    for path in (desk.document, desk.attachments):
        first = await desk.hand_in(path, content, Idempotency_Key=f"key-of-{path[:6]}")
        state = await desk.state()
        again = await desk.hand_in(path, in_parts(content, 65_536), Idempotency_Key=f"key-of-{path[:6]}")
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
        assert [answer.headers.get("Idempotency-Replayed") for answer in (first, again)] == [None, "true"]
        assert await desk.state() == state
    assert (await desk.state())[-2:] == (2, 16)
    assert desk.under_way() == []


async def test_the_same_file_sent_twice_at_once_under_one_key_is_kept_once(desk: Desk) -> None:
    answers = await asyncio.gather(
        *(desk.hand_in(desk.attachments, PDF, token=desk.partner, Idempotency_Key="a-key") for _ in range(3))
    )
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.text for answer in answers}) == 1
    assert (await desk.state())[-2:] == (1, 1)
    assert await desk.attached() == ["x.pdf"]


OTHERS: Final[dict[str, tuple[str, str, bytes]]] = {
    "another content": ("x.txt", "text/plain", TEXT + b"\n"),
    "another name": ("y.txt", "text/plain", TEXT),
    "another type": ("x.pdf", "application/pdf", PDF),
}


@pytest.mark.parametrize("other", OTHERS)
async def test_another_file_under_the_same_key_is_refused(desk: Desk, other: str) -> None:
    first = await desk.hand_in(desk.attachments, TEXT, "x.txt", "text/plain", Idempotency_Key="a-key")
    assert first.status_code == 201
    state = await desk.state()
    name, media_type, content = OTHERS[other]
    refused = await desk.hand_in(desk.attachments, content, name, media_type, Idempotency_Key="a-key")
    assert problem(refused) == (409, "idempotency_key_reused")
    assert await desk.state() == state
    assert desk.under_way() == []


async def test_a_refused_file_does_not_use_up_its_key(desk: Desk) -> None:
    refused = await desk.hand_in(desk.document, HTML, Idempotency_Key="a-key")
    assert problem(refused) == (400, "wrong_file_type")
    assert (await desk.hand_in(desk.document, PDF, Idempotency_Key="a-key")).status_code == 201
    assert (await desk.state())[-2:] == (1, 1)


async def test_without_a_key_the_same_file_twice_is_two_files(desk: Desk) -> None:
    ids = {(await desk.hand_in(desk.attachments, PDF)).json()["fileId"] for _ in range(2)}
    assert len(ids) == 2
    assert (await desk.state())[-2:] == (2, 2)


# -- so many and no more ----------------------------------------------------------------------------------------------


async def test_an_incident_takes_so_many_attachments_and_no_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.incidents.incident_routes.MOST_FILES_OF_INCIDENT", 2)
    for name in ("een.pdf", "twee.pdf"):
        assert (await desk.hand_in(desk.attachments, PDF, name, Idempotency_Key=name)).status_code == 201
    state = await desk.state()
    for token in (desk.partner, None):
        refused = await desk.hand_in(desk.attachments, PDF, "drie.pdf", token=token)
        assert problem(refused) == (409, "too_many_files")
    assert (await desk.hand_in(desk.attachments, PDF, "twee.pdf", Idempotency_Key="twee.pdf")).status_code == 201
    assert await desk.state() == state
    assert desk.under_way() == []
    assert await desk.attached() == ["een.pdf", "twee.pdf"]
    desk.incident_id = await an_incident(desk.world)
    assert (await desk.hand_in(desk.attachments, PDF)).status_code == 201


async def test_of_several_files_at_once_for_the_last_place_one_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.incidents.incident_routes.MOST_FILES_OF_INCIDENT", 1)
    answers = await asyncio.gather(*(desk.hand_in(desk.attachments, PDF, f"{number}.pdf") for number in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert (await desk.state())[-2:] == (1, 1)


# -- who may ----------------------------------------------------------------------------------------------------------

DOORS: Final = {
    "the document of an agreement": ("document", ("school", "partner", "gateway")),
    "an attachment": ("attachments", ("school", "gateway")),
}


@pytest.mark.parametrize("door", DOORS)
async def test_a_file_of_who_may_not_hand_it_in_is_not_even_read(desk: Desk, door: str) -> None:
    where, others = DOORS[door]
    path = getattr(desk, where)
    assert problem(await told(desk, path, never, Authorization="")) == (401, "unauthenticated")
    assert problem(await told(desk, path, never, Authorization="Bearer x.y.z")) == (401, "unauthenticated")
    for role in others:
        refused = await told(desk, path, never, Authorization=f"Bearer {desk.token(role)}")
        assert problem(refused) == (403, "forbidden")
    await desk.require_nothing_left()


async def test_a_file_is_downloaded_with_a_token_of_the_right_role(desk: Desk) -> None:
    await desk.hand_in(desk.document, PDF)
    kept = (await desk.hand_in(desk.attachments, PDF)).json()
    for path in (desk.document, f"{desk.attachments}/{kept['fileId']}"):
        assert problem(await desk.world.call("GET", path, None)) == (401, "unauthenticated")
        for role in ("school", "gateway"):
            assert problem(await desk.fetch(path, desk.token(role))) == (403, "forbidden")
        for role in ("partner", "operator"):
            assert (await desk.fetch(path, desk.token(role))).content == PDF
    path = f"/v1/schools/16SW/agreements/{desk.agreement_id}/document"
    for role in ("partner", "operator", "gateway"):
        assert problem(await desk.fetch(path, desk.token(role))) == (403, "forbidden")


async def test_a_partner_reads_the_document_of_its_own_agreement_and_not_anothers(desk: Desk) -> None:
    await desk.hand_in(desk.document, PDF)
    await desk.world.register("taalhuis", kvk_number="90000002", rules=())
    other = desk.world.token("partner", client_id="taalhuis")
    assert (await desk.fetch(desk.document, desk.partner)).content == PDF
    unknown = await desk.fetch(f"/v1/connections/nobody/agreements/{desk.agreement_id}/document", other)
    foreign = await desk.fetch(desk.document, other)
    assert problem(foreign) == problem(unknown) == (404, "not_found")
    assert foreign.json() == unknown.json()
    unknown = await desk.fetch(f"/v1/connections/taalhuis/agreements/{uuid.uuid4()}/document", other)
    foreign = await desk.fetch(f"/v1/connections/taalhuis/agreements/{desk.agreement_id}/document", other)
    assert problem(foreign) == problem(unknown) == (404, "not_found")
    assert foreign.json() == unknown.json()


async def test_anothers_incident_and_its_attachments_are_the_same_as_none(desk: Desk) -> None:
    kept = (await desk.hand_in(desk.attachments, PDF, token=desk.partner)).json()
    await desk.world.register("taalhuis", kvk_number="90000002", rules=())
    other, state = desk.world.token("partner", client_id="taalhuis"), await desk.state()
    none = f"/v1/incidents/{uuid.uuid4()}/attachments"
    for foreign, unknown in (
        (await desk.fetch(f"{desk.attachments}/{kept['fileId']}", other), await desk.fetch(f"{none}/{kept['fileId']}")),
        (await desk.hand_in(desk.attachments, PDF, token=other), await desk.hand_in(none, PDF, token=other)),
    ):
        assert problem(foreign) == problem(unknown) == (404, "not_found")
        assert foreign.json() == unknown.json()
    assert await desk.state() == state
    assert desk.under_way() == []


async def test_an_attachment_is_found_under_its_own_incident_alone(desk: Desk) -> None:
    attached = (await desk.hand_in(desk.attachments, PDF, token=desk.partner)).json()["fileId"]
    signed = (await desk.hand_in(desk.document, PDF)).json()["fileId"]
    second = await an_incident(desk.world)
    for token in (desk.partner, desk.token("operator")):
        unknown = await desk.fetch(f"{desk.attachments}/{uuid.uuid4()}", token)
        elsewhere = await desk.fetch(f"/v1/incidents/{second}/attachments/{attached}", token)
        no_attachment = await desk.fetch(f"{desk.attachments}/{signed}", token)
        assert problem(unknown) == problem(elsewhere) == problem(no_attachment) == (404, "not_found")
        assert unknown.json() == elsewhere.json() == no_attachment.json()
        assert (await desk.fetch(f"{desk.attachments}/{attached}", token)).content == PDF


async def test_a_file_for_what_is_not_there_is_not_kept(desk: Desk) -> None:
    for path, status, slug in (
        (f"/v1/connections/rekenrijk/agreements/{uuid.uuid4()}/document", 404, "not_found"),
        (f"/v1/connections/nobody/agreements/{desk.agreement_id}/document", 404, "not_found"),
        ("/v1/connections/rekenrijk/agreements/first/document", 400, "invalid_input"),
        (f"/v1/incidents/{uuid.uuid4()}/attachments", 404, "not_found"),
        ("/v1/incidents/first/attachments", 400, "invalid_input"),
    ):
        assert problem(await desk.hand_in(path, a_pdf_of(2 * MEGABYTE), Idempotency_Key="a-key")) == (status, slug)
    await desk.require_nothing_left()


# -- what a school reads ----------------------------------------------------------------------------------------------


async def agreed(world: World, client_id: str = "rekenrijk", **more: str) -> str:
    """The id of an agreement of which the signed document is kept."""
    made = await world.agree(client_id, BASIS, [PURPOSE], **more)
    assert made.status_code == 201, made.text
    agreement_id = str(made.json()["agreementId"])
    address = f"/v1/connections/{client_id}/agreements/{agreement_id}/document?name=x.pdf"
    headers = {"Authorization": f"Bearer {world.token('operator')}", "Content-Type": "application/pdf"}
    kept = await world.client.post(address, content=PDF + agreement_id.encode(), headers=headers)
    assert kept.status_code == 201, kept.text
    return agreement_id


async def read_by(world: World, brin: str, agreement_id: str) -> Answer:
    return await world.administer("GET", f"/agreements/{agreement_id}/document", brin=brin)


async def test_a_school_reads_the_agreement_that_a_grant_of_its_own_rests_on(world: World) -> None:
    agreement_id = await agreed(world)
    nothing_there = await read_by(world, "16SW", str(uuid.uuid4()))
    without_grant = await read_by(world, "16SW", agreement_id)
    assert problem(nothing_there) == problem(without_grant) == (404, "not_found")
    assert nothing_there.json() == without_grant.json()
    await world.granted(scopes=BASIS)
    answer = await read_by(world, "16SW", agreement_id)
    assert (answer.status_code, answer.content) == (200, PDF + agreement_id.encode())
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert problem(await read_by(world, "17TX", agreement_id)) == (404, "not_found")


async def test_a_school_does_not_read_with_the_token_of_another_school(world: World) -> None:
    agreement_id = await agreed(world)
    await world.granted(scopes=BASIS)
    path, token = f"/v1/schools/16SW/agreements/{agreement_id}/document", world.token("school", school="17TX")
    assert problem(await world.call("GET", path, token)) == (404, "not_found")


async def test_the_agreement_of_a_board_is_read_by_its_own_schools_alone(world: World) -> None:
    own = await agreed(world, boardNumber="10002")
    await world.granted(scopes=BASIS)
    await world.granted(brin="17TX", scopes=BASIS)
    assert (await read_by(world, "17TX", own)).content == PDF + own.encode()
    foreign, none = await read_by(world, "16SW", own), await read_by(world, "16SW", str(uuid.uuid4()))
    assert problem(foreign) == (404, "not_found")
    assert foreign.json() == none.json()


async def test_the_agreement_of_another_connection_is_not_read(world: World) -> None:
    await world.register("taalhuis", kvk_number="90000002")
    other = await agreed(world, "taalhuis")
    await world.granted(scopes=BASIS)
    assert problem(await read_by(world, "16SW", other)) == (404, "not_found")
    await world.granted("taalhuis", scopes=BASIS)
    assert (await read_by(world, "16SW", other)).content == PDF + other.encode()


async def test_the_attachments_of_a_connection_have_a_bound_together(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.incidents.incident_routes.MOST_BYTES_OF_CONNECTION", 2 * len(PDF))
    other = f"/v1/incidents/{await an_incident(desk.world)}/attachments"
    answers = [await desk.hand_in(path, PDF) for path in (desk.attachments, other, other, desk.attachments)]
    assert [answer.status_code for answer in answers] == [201, 201, 409, 409]
    assert problem(answers[-1]) == (409, "too_many_files")
    await desk.world.register("taalhuis", kvk_number="90000002")
    elsewhere = f"/v1/incidents/{await an_incident(desk.world, 'taalhuis')}/attachments"
    assert (await desk.hand_in(elsewhere, PDF)).status_code == 201


async def test_files_that_arrive_at_once_ask_for_the_lock_one_after_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another write then waits for one file at most."""
    at_once: list[int] = [0]

    @asynccontextmanager
    async def watched(*given: Any) -> AsyncIterator[WriteRequest]:
        at_once.append(at_once[-1] + 1)
        try:
            async with opened(*given) as writing:
                yield writing
        finally:
            at_once.append(at_once[-1] - 1)

    monkeypatch.setattr("api.web.files.opened", watched)
    content = a_pdf_of(MEGABYTE)
    answers = await asyncio.gather(*(desk.hand_in(desk.attachments, content) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5
    assert at_once == [0, *[1, 0] * 5]
