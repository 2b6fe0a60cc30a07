"""The oracle accepts what is right, and finds each thing that is wrong."""

from collections.abc import Callable, Iterator
from xml.sax.saxutils import escape, quoteattr

import pytest

from tests.effort import sample
from tests.exchange import oracle
from tests.exchange.oracle import Node
from tests.exchange.peers.invented import CALLS, UWLR, CallName, Invented, enveloped, invented
from tests.exchange.subsets import EVERYTHING, TYPE_OF_CALL, release_of, subsets


def written(node: Node, call: CallName) -> bytes:
    return enveloped(f'<{call}_antwoord xmlns="{UWLR}">{_element(node)}</{call}_antwoord>')


def _element(node: Node) -> str:
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in node.attributes)
    return f"<{node.name}{attributes}>{escape(node.text)}{''.join(map(_element, node.children))}</{node.name}>"


def rightly_released(source: Invented, scopes: frozenset[str], xsdversie: str = "2.2") -> Node:
    return oracle.expected(source, release_of(scopes), xsdversie)


def test_there_are_as_many_grants_as_the_dependencies_allow() -> None:
    found = list(subsets())
    assert len(found) == len(set(found)) == 1009
    assert len({tuple(sorted(release_of(scopes).items())) for scopes in found}) == 505


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("clean", [True, False])
@oracle.needs_standard
def test_what_is_right_is_accepted(call: CallName, clean: bool) -> None:
    for seed, scopes in enumerate(sample(subsets(), len)):
        if not release_of(scopes)[TYPE_OF_CALL[call]] or "vestiging.basis" in scopes:
            continue
        source = invented(call, seed=seed % 7, clean=clean)
        node = rightly_released(source, scopes)
        assert oracle.findings(source, release_of(scopes), written(node, call)) == []


@pytest.mark.parametrize("call", CALLS)
@oracle.needs_standard
def test_a_clean_answer_is_released_as_it_is_but_for_the_keys_of_its_pupils(call: CallName) -> None:
    source = invented(call)
    whole = oracle._node(oracle._parsed(source.content))
    found = list(oracle.differences(rightly_released(source, EVERYTHING), whole))
    assert len(found) == (4 if TYPE_OF_CALL[call] == "leerling" else 0)


@pytest.mark.parametrize("call", CALLS)
def test_an_unclean_answer_as_it_is_is_found(call: CallName) -> None:
    source = invented(call, clean=False)
    assert oracle.findings(source, release_of(EVERYTHING), source.content)


Spoiling = Callable[[Node], Node]


def _each(node: Node, change: Spoiling) -> Iterator[Node]:
    """The tree with one of its nodes changed, for every node that the change changes."""
    if (changed := change(node)) != node:
        yield changed
    for number, child in enumerate(node.children):
        for spoilt in _each(child, change):
            yield node._replace(children=(*node.children[:number], spoilt, *node.children[number + 1 :]))


SPOILINGS: dict[str, Spoiling] = {
    "without its last part": lambda node: node._replace(children=node.children[:-1]),
    "without its attributes": lambda node: node._replace(attributes=()),
    "with another text": lambda node: node._replace(text=node.text and "1"),
    "with another key": lambda node: node._replace(attributes=tuple((name, "x") for name, _ in node.attributes)),
    "with more": lambda node: node._replace(children=(*node.children, Node("bsn", text="123456782"))),
    "in another order": lambda node: node._replace(children=node.children[::-1]),
    "with an attribute more": lambda node: node._replace(attributes=(*node.attributes, ("bsn", "1"))),
    "in another namespace": lambda node: node._replace(attributes=(*node.attributes, ("xmlns", "urn:elders"))),
}


@pytest.mark.parametrize("spoiling", SPOILINGS.values(), ids=list(SPOILINGS))
@pytest.mark.parametrize("call", CALLS)
@oracle.needs_standard
def test_every_single_thing_that_is_wrong_is_found(call: CallName, spoiling: Spoiling) -> None:
    source = invented(call, seed=3, clean=False)
    node = rightly_released(source, EVERYTHING)
    spoilt = list(_each(node, spoiling))
    assert spoilt
    for each in spoilt:
        assert oracle.findings(source, release_of(EVERYTHING), written(each, call))


@oracle.needs_standard
def test_a_date_of_birth_is_found_under_2_3() -> None:
    source = invented("leerlingen")
    released = written(rightly_released(source, EVERYTHING), "leerlingen")
    assert oracle.findings(source, release_of(EVERYTHING), released, "2.2") == []
    found = oracle.findings(source, release_of(EVERYTHING), released, "2.3")
    assert any("date of birth" in each for each in found)
    assert any("geboortedatum leaked" in each for each in found)


@oracle.needs_standard
def test_the_own_key_of_a_pupil_with_an_eckid_is_found() -> None:
    source = invented("leerlingen")
    found = oracle.findings(source, release_of(EVERYTHING), source.content)
    assert any("the key of a pupil with an ECK iD was released" in each for each in found)
    assert any("leerling.@key leaked" in each for each in found)


@oracle.needs_standard
def test_a_planted_value_is_found_wherever_it_stands() -> None:
    source = invented("leerkrachten")
    without = EVERYTHING - {"docent.email"}
    node = rightly_released(source, without)
    [mail, *_] = [planted.marker for planted in source.planted if planted.path == "docent.emailadres"]
    hidden = written(node, "leerkrachten").replace(b"LAS", f"&#x{ord(mail[0]):x};{mail[1:]}".encode(), 1)
    assert any("docent.emailadres leaked" in each for each in oracle.findings(source, release_of(without), hidden))


@oracle.needs_standard
def test_a_reference_to_what_isnt_released_is_found() -> None:
    source = invented("leerlinggegevens")
    node = rightly_released(source, EVERYTHING)
    without = node._replace(children=tuple(each for each in node.children if each.name != "groepen"))
    found = oracle.findings(source, release_of(EVERYTHING), written(without, "leerlinggegevens"))
    assert any("that isn't released" in each for each in found)
