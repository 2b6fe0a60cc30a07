"""UWLR for the benchmarks: invented answers, a LAS that sends them, and the measurement of filtering one.

python -m bench.uwlr write PATH MEGABYTES      an answer of that size
python -m bench.uwlr filter|whole PATH         processor seconds, and MiB at most above idle, as JSON
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from exchange.answers import AnswerFilter
from exchange.uwlr import SOAP, UWLR, Call, Expected

YEAR = "2026-2027"
#: The fields granted by the schools of the benchmarks.
RELEASE = {
    "school": frozenset({"schooljaar", "brincode", "dependancecode", "xsdversie"}),
    "groep": frozenset({"@key", "naam", "jaargroep"}),
    "leerling": frozenset({"@eckid", "@key", "achternaam", "voorvoegsel", "roepnaam", "jaargroep", "groep/@key"}),
    "docent": frozenset[str](),
}
PIECE = 256 * 1024
_MEGABYTE = 1024 * 1024


def answer(brin: str, least_bytes: int) -> Iterator[bytes]:
    """A whole school's answer of at least so many bytes, in pieces. All persons are invented."""
    yield (
        f'<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="{SOAP}"><soap:Body>'
        f'<leerlinggegevens_antwoord xmlns="{UWLR}"><leerlinggegevens>'
        f"<school><schooljaar>{YEAR}</schooljaar><brincode>{brin}</brincode><xsdversie>2.3</xsdversie></school><groepen>"
    ).encode()
    for number in range(40):
        year = number % 8 + 1
        yield f'<groep key="g{number}"><naam>Groep {number}</naam><jaargroep>{year}</jaargroep></groep>'.encode()
    yield b"</groepen><leerlingen>"
    size, number = 0, 0
    while size < least_bytes:
        piece = "".join(_pupil(each) for each in range(number, number + 100)).encode()
        size, number = size + len(piece), number + 100
        yield piece
    yield b"</leerlingen></leerlinggegevens></leerlinggegevens_antwoord></soap:Body></soap:Envelope>"


def _pupil(number: int) -> str:
    return (
        f'<leerling key="l{number}" eckid="https://eckid.voorbeeld.example/201703/{number:0128x}">'
        f"<achternaam>Verzonnen{number}</achternaam><voorvoegsel>van</voorvoegsel><roepnaam>Roep{number}</roepnaam>"
        f"<geboortedatum>2015-03-{number % 28 + 1:02}</geboortedatum><jaargroep>{number % 8 + 1}</jaargroep>"
        f'<groep key="g{number % 40}"/><fotourl>https://foto.voorbeeld.example/{number}</fotourl>'
        f"<mutatiedatum>2026-09-01T08:00:00Z</mutatiedatum></leerling>\n"
    )


async def las(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A LAS that answers each request with the file in `BENCH_ANSWER`."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/xml")]})
    await send({"type": "http.response.body", "body": _content()})


@lru_cache(maxsize=1)
def _content() -> bytes:
    return Path(os.environ["BENCH_ANSWER"]).read_bytes()


def filtered(path: str) -> None:
    """Filters the file as a stream, and discards the released answer."""
    with open(path, "rb") as file:
        head = file.read(4096)
        brin = head.partition(b"<brincode>")[2][:4].decode()
        filtering = AnswerFilter(Call.ALL, Expected(YEAR, brin, None, None, "2.3"), RELEASE)
        filtering.feed(head)
        while piece := file.read(PIECE):
            filtering.feed(piece)
    for _ in filtering.close():
        pass


def whole(path: str) -> None:
    """Parses and serialises the whole file with lxml alone."""
    from lxml import etree

    with open(path, "rb") as file:
        content = file.read()
    etree.tostring(etree.fromstring(content, etree.XMLParser(huge_tree=True)), encoding="UTF-8")


def _measured(work: Any, path: str) -> dict[str, float]:
    idle = _bytes_of("VmRSS:")
    started = time.process_time()
    work(path)
    seconds = time.process_time() - started
    # Not getrusage(), whose maximum includes the parent process before exec().
    most = _bytes_of("VmHWM:")
    return {"seconds": seconds, "mebibytes": (most - idle) / _MEGABYTE}


def _bytes_of(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def write(path: str, megabytes: str) -> int:
    """Writes an answer of so many megabytes. Returns its size in bytes."""
    with open(path, "wb") as file:
        file.writelines(answer("16SW", int(megabytes) * _MEGABYTE))
        return file.tell()


def main() -> None:
    what, path, *more = sys.argv[1:]
    if what == "write":
        print(json.dumps(write(path, *more)))
    else:
        print(json.dumps(_measured({"filter": filtered, "whole": whole}[what], path)))


if __name__ == "__main__":
    main()
