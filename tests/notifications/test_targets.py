"""Nothing but a host on the internet is ever connected to: it is looked at by who subscribes, and by who delivers."""

import asyncio
import contextlib
import ssl
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from sqlmodel import select

from api.notifications.delivery import Delivery, Pace
from api.notifications.delivery_queue import LeasedLane, OutgoingMessage, Result
from api.notifications.sender import Sender
from api.notifications.targets import ResolvedTarget, Target, Targets, target_of
from models.consents.webhooks import WebhookAttempt, WebhookSubscription
from models.log.events import Event
from models.vocabulary.refusals import TargetRefused
from tests.notifications.webhook_receivers import answering, receiving
from tests.notifications.webhook_subscriber import call, running, subscribed, tell_the_time
from tests.proxies.certificates import Authority, key_of
from tests.worlds.snapshot_waiters import settle
from tests.worlds.world import START, World, world_on

#: No lookup is needed to refuse these: each is another way to write what is no name of a host on the internet.
NO_NAMES: Final = {
    "no TLS": "http://hooks.example.nl/",
    "another scheme": "gopher://hooks.example.nl/",
    "a file": "file:///etc/passwd",
    "no scheme": "//hooks.example.nl/",
    "loopback": "https://127.0.0.1/",
    "loopback, without TLS": "http://127.0.0.1:8000/",
    "all addresses": "https://0.0.0.0/",
    "a decimal address": "https://2130706433/",
    "an octal address": "https://0177.0.0.1/",
    "an octal address in one": "https://017700000001/",
    "a hexadecimal address": "https://0x7f000001/",
    "a hexadecimal address in parts": "https://0x7f.0x0.0x0.0x1/",
    "a hexadecimal last part": "https://hooks.0x1/",
    "a short address": "https://127.1/",
    "an address of three parts": "https://127.0.1/",
    "an address with a dot behind it": "https://127.0.0.1./",
    "a private address": "https://10.0.0.1/",
    "a public address": "https://93.184.215.14/",
    "IPv6 loopback": "https://[::1]/",
    "IPv6 unspecified": "https://[::]/",
    "IPv4 mapped into IPv6": "https://[::ffff:127.0.0.1]/",
    "IPv4 mapped, in hexadecimal": "https://[::ffff:7f00:1]/",
    "NAT64": "https://[64:ff9b::7f00:1]/",
    "6to4": "https://[2002:7f00:1::]/",
    "Teredo": "https://[2001:0:7f00:1::]/",
    "link-local with a zone": "https://[fe80::1%25eth0]/",
    "the metadata service": "https://169.254.169.254/latest/meta-data/",
    "the metadata service, by IPv6": "https://[fd00:ec2::254]/",
    "the metadata service, by name": "https://metadata.google.internal/computeMetadata/v1/",
    "localhost": "https://localhost/",
    "localhost in capitals": "https://LOCALHOST/",
    "below localhost": "https://hooks.localhost/",
    "a name of one label": "https://database/",
    "a local name": "https://printer.local/",
    "an internal name": "https://vault.internal/",
    "a home's name": "https://router.home.arpa/",
    "a name with a dot behind it": "https://hooks.example.nl./",
    "a user": "https://user@hooks.example.nl/",
    "a user and a password": "https://hooks.example.nl:443@127.0.0.1/",
    "a user that looks like the host": "https://hooks.example.nl%2f@127.0.0.1/",
    "a fragment that hides the host": "https://127.0.0.1#@hooks.example.nl/",
    "a backslash": "https://hooks.example.nl\\@127.0.0.1/",
    "an odd port": "https://hooks.example.nl:22/",
    "the port of a database": "https://hooks.example.nl:5432/",
    "port 0": "https://hooks.example.nl:0/",
    "a port that wraps around": "https://hooks.example.nl:65979/",
    "an empty port": "https://hooks.example.nl:/",
    "no host": "https:///hooks",
    "digits in a circle": "https://①②⑦.⓪.⓪.①/",
    "letters of full width": "https://ｌｏｃａｌｈｏｓｔ.example.nl/",
    "a full stop that is none": "https://127。0。0。1/",
    "a soft hyphen": "https://local\u00adhost.example.nl/",
    "an escape in the host": "https://%6c%6f%63alhost.example.nl/",
    "a space before": " https://hooks.example.nl/",
    "a line behind": "https://hooks.example.nl/\r\nHost: localhost",
    "a tab within": "https://hooks.exam\tple.nl/",
    "an underscore": "https://_hooks.example.nl/",
    "two dots": "https://hooks..example.nl/",
    "a label that is too long": f"https://{'a' * 64}.example.nl/",
    "a name that is too long": f"https://{'a.' * 130}nl/",
    "a URL that is too long": f"https://hooks.example.nl/{'a' * 1_000}",
}

#: A name like any other stands for these.
NO_ADDRESSES: Final = {
    "loopback": ["127.0.0.1"],
    "another loopback": ["127.8.8.8"],
    "this network": ["0.0.0.0"],
    "a private network": ["10.1.2.3"],
    "another private network": ["172.31.255.1"],
    "a home's network": ["192.168.1.1"],
    "a carrier's network": ["100.64.0.1"],
    "a cloud's metadata in a carrier's network": ["100.100.100.200"],
    "link-local": ["169.254.169.254"],
    "a cloud's own host": ["168.63.129.16"],
    "a protocol's network": ["192.0.0.192"],
    "a documentation's network": ["203.0.113.5"],
    "a test network": ["198.18.0.1"],
    "a 6to4 relay": ["192.88.99.1"],
    "multicast": ["224.0.0.1"],
    "broadcast": ["255.255.255.255"],
    "reserved": ["240.0.0.1"],
    "IPv6 loopback": ["::1"],
    "IPv6 unspecified": ["::"],
    "IPv4 mapped into IPv6": ["::ffff:93.184.215.14"],
    "IPv4 in IPv6, as it once was": ["::7f00:1"],
    "NAT64": ["64:ff9b::7f00:1"],
    "NAT64 of a network": ["64:ff9b:1::1"],
    "6to4": ["2002:7f00:1::1"],
    "Teredo": ["2001:0:7f00:1::1"],
    "unique local": ["fd00:ec2::254"],
    "IPv6 link-local": ["fe80::1"],
    "IPv6 link-local with a zone": ["fe80::1%eth0"],
    "IPv6 multicast": ["ff02::1"],
    "IPv6 documentation": ["2001:db8::1"],
    "a public one and a private one": ["93.184.215.14", "10.0.0.1"],
    "a private one behind many": ["93.184.215.14"] * 20 + ["::1"],
    "none": [],
    "no address": ["hooks.example.nl"],
}
NAME: Final = "https://hooks.example.nl/partner"
PUBLIC: Final = ["93.184.215.14"]


class Names:
    """What names stand for: each for its own addresses, and all others for `otherwise`."""

    def __init__(self, otherwise: Sequence[str] = PUBLIC, **known: Sequence[str]) -> None:
        self.otherwise = otherwise
        self.known = known
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.known.get(host.split(".")[0], self.otherwise)

    @property
    def targets(self) -> Targets:
        """As in production."""
        return Targets(loopback=False, lookup=self)


def by_number(lists: Iterable[Sequence[str]]) -> dict[str, Sequence[str]]:
    """Each of these as what a name of its own stands for."""
    return {f"name-{number}": addresses for number, addresses in enumerate(lists)}


async def test_one_connection_holds_up_a_few_lookups_and_no_more() -> None:
    answered = asyncio.Event()

    async def slowly(host: str, port: int) -> Sequence[str]:
        await answered.wait()
        return PUBLIC

    targets = Targets(loopback=False, lookup=slowly)
    asked = [asyncio.create_task(targets.resolve(f"https://{name}.example.com/", "een")) for name in ("a", "b")]
    await settle()
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert targets.is_busy_for("een"), "who gave up has them looked up still"
    assert not targets.is_busy_for("ander")
    answered.set()
    await settle()
    assert not targets.is_busy_for("een")
    targets.close()


# -- what is no host on the internet ----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", NO_NAMES)
def test_a_url_of_no_host_on_the_internet_is_refused(what: str) -> None:
    with pytest.raises(TargetRefused):
        target_of(NO_NAMES[what], loopback=False)


@pytest.mark.parametrize("what", NO_NAMES)
def test_that_this_machine_is_a_target_makes_no_other_one(what: str) -> None:
    """As in the demo. It has to be named as such."""
    with contextlib.suppress(TargetRefused):
        target = target_of(NO_NAMES[what], loopback=True)
        assert target.is_loopback
        assert target.host in ("127.0.0.1", "localhost", "[::1]")


@pytest.mark.parametrize("what", NO_ADDRESSES)
async def test_a_name_that_stands_for_an_address_that_is_not_on_the_internet_is_refused(what: str) -> None:
    with pytest.raises(TargetRefused):
        await Names(NO_ADDRESSES[what]).targets.resolve(NAME)


@pytest.mark.parametrize("address", [*PUBLIC, "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
async def test_a_name_of_a_host_on_the_internet_is_none_of_these(address: str) -> None:
    reached = await Names([address]).targets.resolve("https://Hooks.Example.NL:8443/a/b?c=%20d")
    assert reached.target.url == "https://hooks.example.nl:8443/a/b?c=%20d"
    assert reached.addresses == (address,)


async def test_a_name_that_is_not_answered_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: str, __: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr("api.notifications.targets.LOOKUP_SECONDS", 0.05)
    targets = Targets(loopback=False, lookup=never)
    refusals = await asyncio.gather(*(targets.resolve(NAME) for _ in range(5)), return_exceptions=True)
    assert [type(refusal) for refusal in refusals] == [TargetRefused] * 5
    assert len(targets._lookups) == 1, "one name is looked up once, however many ask"


# -- when somebody subscribes, and again when it is delivered ---------------------------------------------------------


@pytest.fixture
async def strict(store_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A world in which webhooks go where they go in production."""
    async with world_on(store_url, tmp_path, webhook_loopback=False) as made:
        await made.register()
        tell_the_time(made)
        yield made


def know(world: World, names: Names) -> None:
    """What names stand for, for whoever subscribes."""
    world.service.services.put(names.targets)


async def test_each_is_refused_when_somebody_subscribes(strict: World) -> None:
    names = Names(**by_number(NO_ADDRESSES.values()))
    know(strict, names)
    for what, url in NO_NAMES.items():
        answer = await call(strict, "POST", body={"url": url})
        assert answer.status_code == 400, what
    assert names.asked == [], "what is no name was looked up"
    for what, name in zip(NO_ADDRESSES, names.known, strict=True):
        answer = await call(strict, "POST", body={"url": f"https://{name}.example.nl/"})
        assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[1]) == (400, "target_refused"), what
    assert (await call(strict, "GET")).json()["items"] == []
    made = await subscribed(strict, NAME)
    for url in (*NO_NAMES.values(), "https://name-0.example.nl/"):
        path = f"/{made['subscriptionId']}"
        assert (await call(strict, "PATCH", path, {"url": url}, If_Match="*")).status_code == 400
    assert (await call(strict, "GET", path)).json() == {k: v for k, v in made.items() if k != "secret"}


async def test_each_is_refused_again_when_it_is_delivered(strict: World) -> None:
    """They stand in the store, however they came there: nobody gets them in."""
    names = Names(**by_number(NO_ADDRESSES.values()))
    urls = [url for url in NO_NAMES.values() if len(url) <= 1000]
    urls += [f"https://{name}.example.nl/" for name in names.known]
    await put(strict, urls)
    await strict.granted()
    delivery = Delivery(strict.store, Sender(names.targets), Pace(200), interval=0.02)
    async with running(delivery):
        found = await attempts(strict, len(urls))
    assert {each.outcome for each in found} == {"target_refused"}
    assert len({each.subscription_id for each in found}) == len(urls)
    assert set(names.asked) == {f"{name}.example.nl" for name in names.known}


async def test_a_name_that_stands_for_another_address_by_then_leads_nowhere(strict: World) -> None:
    """Rebinding, from the outside: public when it is looked at, and this machine when it is delivered."""
    names = Names()
    know(strict, names)
    async with receiving() as receiver:
        await subscribed(strict, f"{NAME}?port={receiver.port}")
        names.otherwise = ["127.0.0.1"]
        await strict.granted()
        async with running(Delivery(strict.store, Sender(names.targets), Pace(8), interval=0.02)):
            (found,) = await attempts(strict, 1)
        assert (found.outcome, receiver.received) == ("target_refused", [])


async def put(world: World, urls: Iterable[str]) -> None:
    """Straight into the store: a subscription for each, past all that looks at it."""
    async with world.store.marking() as session:
        dated: dict[str, Any] = {"revision": 1, "created_at": world.clock.now, "changed_at": world.clock.now}
        for url in urls:
            own: dict[str, Any] = {"subscription_id": str(uuid.uuid4()), "seed": uuid.uuid4().hex, "url": url}
            session.add(WebhookSubscription(client_id="rekenrijk", **own, **dated))
        await session.flush()


async def attempts(world: World, many: int) -> Sequence[WebhookAttempt]:
    """Once there are so many."""
    async with asyncio.timeout(60):
        while True:
            async with world.store.reading() as session:
                found = (await session.exec(select(WebhookAttempt))).all()
            if len(found) >= many:
                return found
            await asyncio.sleep(0.05)


# -- the connection itself --------------------------------------------------------------------------------------------


class Looked(Targets):
    """A name that was looked at and stands for this machine: what a name server says later is not asked."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(loopback=False)
        self._at = ResolvedTarget(Target("https", host, port, "/hooks", is_loopback=False), ("127.0.0.1",))

    async def resolve(self, url: str, client_id: str = "") -> ResolvedTarget:
        return self._at


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "An authority of this test")


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key_of(certificate))
    return context


async def sent(targets: Targets, authority: Authority) -> Result:
    """What comes of a message that is sent there by who trusts this authority."""
    event = Event(number=7, revision=7, mark="a", at=START, kind="grant.revoked", actor="", actor_role="", state={})
    taken = LeasedLane("rekenrijk", str(uuid.uuid4()), "", "", 0)
    work = OutgoingMessage(taken, event, NAME, ("whsec_" + "QUJD" * 8,), START)
    return await Sender(targets, ssl.create_default_context(cafile=authority.certificate)).send(work)


async def test_the_connection_goes_to_the_address_that_was_looked_at_by_the_name_of_the_host(
    authority: Authority,
) -> None:
    context, asked = serving(authority.issue("hooks.example.nl")), list[str | None]()
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with receiving(tls=context) as receiver:
        result = await sent(Looked("hooks.example.nl", receiver.port), authority)
        assert (result.outcome, result.status_code) == ("delivered", 204)
        assert asked == ["hooks.example.nl"]
        assert receiver.received[0].headers["host"] == f"hooks.example.nl:{receiver.port}"


async def test_who_has_no_certificate_of_that_name_gets_nothing(authority: Authority, tmp_path: Path) -> None:
    async with receiving(tls=serving(authority.issue("other.example.nl"))) as receiver:
        assert (await sent(Looked("hooks.example.nl", receiver.port), authority)).outcome == "not_connected"
        assert receiver.received == []
    (tmp_path / "another").mkdir()
    unknown = Authority(tmp_path / "another", "An authority of another one")
    async with receiving(tls=serving(unknown.issue("hooks.example.nl"))) as receiver:
        assert (await sent(Looked("hooks.example.nl", receiver.port), authority)).outcome == "not_connected"
        assert receiver.received == []


async def test_a_redirect_is_not_followed_and_no_proxy_is_asked(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = authority.issue("hooks.example.nl")
    async with receiving(tls=serving(certificate)) as receiver, receiving() as elsewhere:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{elsewhere.port}")
        for status in (301, 302, 303, 307, 308):
            receiver.behaviour = answering(status, b"", f"Location: {elsewhere.url}")
            result = await sent(Looked("hooks.example.nl", receiver.port), authority)
            assert (result.outcome, result.status_code) == ("redirected", status)
        assert (len(receiver.received), elsewhere.received) == (5, [])
