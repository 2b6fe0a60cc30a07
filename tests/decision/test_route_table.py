"""The route table: the meaning of its lines, refused lines, and requests that match no route."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decision.route_table import MOST_TARGET_CHARACTERS, RequestedData, RouteTable, RouteTableInvalid

TABLE = RouteTable.read(
    """
    # what the LAS offers
    GET,HEAD  /las/v1/scholen/{brin}/leerlingen{?page,limit}  leerling  {brin}  leerling.naam leerling.jaargroep
    *         /las/v1/{brin}/{nummer}/groepen                 groep     {brin}{nummer}
    POST      /zoek{?brin,q}                                  school    {brin}   # the school stands in the query
    GET       /landelijk/Lijst/                               school    16SW
    """
)
PUPILS = RequestedData("leerling", "16SW", ("leerling.naam", "leerling.jaargroep"))


@pytest.mark.parametrize(
    ("method", "target", "about"),
    [
        ("GET", "/las/v1/scholen/16SW/leerlingen", PUPILS),
        ("HEAD", "/las/v1/scholen/16SW/leerlingen?limit=10&page=2", PUPILS),
        ("GET", "/las/v1/scholen/16sw/leerlingen", PUPILS._replace(place="16sw")),
        ("DELETE", "/las/v1/16SW/01/groepen", RequestedData("groep", "16SW01", ())),
        ("POST", "/zoek?q=a%20b&brin=16SW", RequestedData("school", "16SW", ())),
        ("GET", "/landelijk/Lijst/", RequestedData("school", "16SW", ())),
    ],
)
def test_a_request_is_about_what_its_route_says(method: str, target: str, about: RequestedData) -> None:
    assert TABLE.requested_data(method, target) == about


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/las/v1/scholen/16SW/leerlingen"),
        ("get", "/las/v1/scholen/16SW/leerlingen"),
        ("GET", "/las/v1/scholen/16SW/leerlingen/"),
        ("GET", "/LAS/v1/scholen/16SW/leerlingen"),
        ("GET", "//las/v1/scholen/16SW/leerlingen"),
        ("GET", "/las//v1/scholen/16SW/leerlingen"),
        ("GET", "/las/v1/./scholen/16SW/leerlingen"),
        ("GET", "/x/../las/v1/scholen/16SW/leerlingen"),
        ("GET", "/las/v1/scholen/../leerlingen"),
        ("GET", "/las/v1/scholen/./leerlingen"),
        ("GET", "/las/v1/scholen/16SW%2Fleerlingen"),
        ("GET", "/las/v1/scholen/%316SW/leerlingen"),
        ("GET", "/las/v1/scholen/16SW/leerlinge%6e"),
        ("GET", "/las/v1/scholen/16SW/leerlingen;v=1"),
        ("GET", "/las/v1/scholen/16SW;x/leerlingen"),
        ("GET", "/las/v1/scholen/16SW\\leerlingen"),
        ("GET", "/las/v1/scholen/16SW/leerlingen#"),
        ("GET", "/las/v1/scholen/16SW/leerlingen\n"),
        ("GET", "/las/v1/scholen/16SW\n/leerlingen"),
        ("GET", "/las/v1/scholen/１６SW/leerlingen"),
        ("GET", "http://las.example/las/v1/scholen/16SW/leerlingen"),
        ("GET", "/las/v1/scholen/16SW/leerlingen?"),
        ("GET", "/las/v1/scholen/16SW/leerlingen?page"),
        ("GET", "/las/v1/scholen/16SW/leerlingen?page=1&page=2"),
        ("GET", "/las/v1/scholen/16SW/leerlingen?page=1&Page=2"),
        ("GET", "/las/v1/scholen/16SW/leerlingen?page=1;limit=2"),
        ("GET", "/las/v1/scholen/16SW/leerlingen?brin=27DA"),
        ("GET", "/las/v1/scholen/16SW/leerlingen?p%61ge=1"),
        ("GET", "/las/v1/scholen/16SW/leerlingen?page=1?brin=27DA"),
        ("GET", "/las/v1/scholen/16SW/leerlingen?page=%2"),
        ("GET", "/las/v1/scholen/16SW/leerlingen?page=1#"),
        # Together a BRIN6, but not divided between school and location.
        ("GET", "/las/v1/16SW0/1/groepen"),
        ("GET", "/las/v1/1/6SW01/groepen"),
        ("GET", "/las/v1/16S/W01/groepen"),
        ("GET", "/las/v1/16sw/01/groepen"),
        ("POST", "/zoek"),
        ("POST", "/zoek?q=16SW"),
        ("POST", "/zoek?brin=%3116SW"),
        ("POST", "/zoek?brin=16SW&brin=27DA"),
        ("GET", "/"),
        ("GET", ""),
        ("GET", "/las/v1/scholen/16SW/leerlingen?page=" + "1" * MOST_TARGET_CHARACTERS),
    ],
)
def test_what_could_be_read_in_another_way_is_named_by_no_route(method: str, target: str) -> None:
    assert TABLE.requested_data(method, target) is None


@given(st.text(max_size=60), st.sampled_from(["", "/las/v1/scholen/", "/zoek?", "/las/v1/16SW/01/groepen"]))
def test_any_text_is_a_target_of_one_reading_or_of_none(text: str, beginning: str) -> None:
    target = beginning + text
    data = TABLE.requested_data("POST", target)
    if data is not None:
        path, _, query = target.partition("?")
        assert path.isascii()
        assert not set(path) & set("%;\\#\n ")
        assert "//" not in path
        assert not {".", ".."} & set(path.split("/"))
        assert len({each.split("=")[0] for each in query.split("&")}) == len(query.split("&"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("GET /x/{brin} leerling", "a route is METHODS TEMPLATE TYPE PLACE"),
        ("get /x/{brin} leerling {brin}", "'get' is no list of methods"),
        ("GET, /x/{brin} leerling {brin}", "'GET,' is no list of methods"),
        ("GET x/{brin} leerling {brin}", "is no template"),
        ("GET /x/{brin}{?page leerling {brin}", "is no template"),
        ("GET /x{brin} leerling {brin}", "'x{brin}' is no segment"),
        ("GET /x/%7Bbrin/{brin} leerling {brin}", "is no segment"),
        ("GET /x/../{brin} leerling {brin}", "'..' is no segment"),
        ("GET //{brin} leerling {brin}", "a segment without a character"),
        ("GET /{brin}/{brin} leerling {brin}", "brin stands there twice"),
        ("GET /{brin}{?brin} leerling {brin}", "brin stands there twice"),
        ("GET /{brin} leerling {school}", "the place names school, which the template does not"),
        ("GET /{brin} leerling 16sw", "'16sw' makes no BRIN"),
        ("GET /{brin} leerling 16SW0", "'16SW0' makes no BRIN"),
        ("GET /{brin} leerling {brin", "makes no BRIN"),
        ("GET /{brin} pupil {brin}", "'pupil' is no type"),
        ("GET /{brin} leerling {brin} docent.naam", "'docent.naam' is no scope of leerling"),
        ("GET /{brin} leerling {brin} leerling.bsn", "'leerling.bsn' is no scope of leerling"),
        ("GET /{brin} leerling {brin} leerling.naam leerling.naam", "leerling.naam stands there twice"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(line: str, reason: str) -> None:
    with pytest.raises(RouteTableInvalid) as refused:
        RouteTable.read(f"# a comment\n\n{line}\nGET /goed/{{brin}} groep {{brin}}\n")
    assert str(refused.value).startswith("line 3: ")
    assert reason in str(refused.value)


def test_every_wrong_line_is_told() -> None:
    with pytest.raises(RouteTableInvalid) as refused:
        RouteTable.read("GET x leerling 16SW\nGET /x leerling 16SW\nGET /y pupil 16SW\n")
    assert [line.split(":")[0] for line in str(refused.value).splitlines()] == ["line 1", "line 3"]


@pytest.mark.parametrize(
    "another",
    ["GET /a/b groep 16SW", "* /a/{naam} groep 16SW", "GET,POST /{brin}/b groep {brin}", "GET /a/b{?q} groep 16SW"],
)
def test_of_two_routes_that_could_both_be_meant_the_later_is_refused(another: str) -> None:
    with pytest.raises(RouteTableInvalid, match="line 2: a request can be of line 1 as well"):
        RouteTable.read(f"GET /a/b leerling 16SW\n{another}\n")


def test_routes_that_differ_by_method_or_segment_stand_side_by_side() -> None:
    text = "GET /a/b leerling 16SW\nPOST /a/b groep 16SW\nGET /a/c docent 16SW\nGET /a/b/{brin} docent {brin}\n"
    assert len(RouteTable.read(text).routes) == 4
