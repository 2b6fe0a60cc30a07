"""Rows of the UWLR release layer: filtering a large answer, and the whole layer against the LAS alone."""

import hashlib
import json
import statistics
import sys
from contextlib import ExitStack
from typing import Any

from bench import servers
from bench.load import Target
from bench.probes import measured
from bench.setting import SQLITE, Aim, Bench
from bench.uwlr import YEAR, answer
from exchange.uwlr import AUTORISATIE, SOAP, UWLR

LARGE_MEGABYTES, QUICK_MEGABYTES = 100, 10
PUPILS_BYTES = 250_000
_KEY = "een-sleutel-voor-de-meting"


def filtering(bench: Bench) -> None:
    """Measures filtering a large answer as a stream, against parsing and serialising it whole."""
    is_quick = bench.options.world.grants < 100_000
    megabytes = QUICK_MEGABYTES if is_quick else LARGE_MEGABYTES
    path = bench.folder / "answer.xml"
    measured("uwlr", "write", str(path), str(megabytes))
    own, reference = [], []
    for _ in range(bench.options.turns):
        bench.say(f"filtering {megabytes} MB")
        own.append(measured("uwlr", "filter", str(path)))
        reference.append(measured("uwlr", "whole", str(path)))
    path.unlink()
    seconds = [[each["seconds"] for each in turns] for turns in (own, reference)]
    ratio = statistics.median(mine / other for mine, other in zip(*seconds, strict=True))
    shown = [f"{statistics.median(each):.2f} s" for each in seconds]
    bench.add(13, f"filtering {megabytes} MB : lxml, whole; processor time", *shown, ratio, Aim("<=", 3))
    peaks = [max(each["mebibytes"] for each in turns) for turns in (own, reference)]
    bench.add(13, "  memory at most above idle, in MiB", *(f"{each:.1f}" for each in peaks), peaks[0], Aim("<=", 60))


def whole_gate(bench: Bench) -> None:
    """Measures a school's answer through the release layer, against the LAS alone."""
    world = bench.options.world
    permitted = next(asked.pair for asked in bench.asked(world) if asked.permit)
    brin, client_id = world.brin_of(permitted), world.client_of(permitted)
    path = bench.folder / "school.xml"
    path.write_bytes(b"".join(answer(brin, PUPILS_BYTES)))
    bodies = bench.folder / "verzoek.xml"
    bodies.write_text(_request(brin), encoding="utf-8")
    with ExitStack() as stack:
        hook = stack.enter_context(bench.hook(SQLITE, world))
        las = stack.enter_context(servers.uvicorn("bench.uwlr:las", bench.folder, {"BENCH_ANSWER": str(path)}))
        gate = stack.enter_context(_gate(bench, las.origin, hook.url.split("/access/")[0], client_id))
        targets = [Target("gate", gate.origin, bodies), Target("LAS", las.origin, bodies)]
        for connections in (1, 8):
            mine, others = bench.turns(targets, connections)
            what = f"whole gate : bare LAS, {path.stat().st_size // 1000} kB, {connections} conn."
            bench.compare(14, what, mine, others, None)


def _gate(bench: Bench, upstream: str, manager: str, client_id: str) -> Any:
    credentials = bench.folder / "credentials.json"
    digest = hashlib.sha256(_KEY.encode()).hexdigest()
    customer = {"klantcode": "K-1", "klantnaam": "Meting", "sleutelSha256": digest, "clientId": client_id}
    credentials.write_text(json.dumps([customer]), encoding="utf-8")
    settings = {
        "PRIVACY_MANAGER_EXCHANGE_TOKEN": bench.gateway_token,
        "PRIVACY_MANAGER_EXCHANGE_CREDENTIALS": str(credentials),
    }
    port = servers.free_port()
    command = [sys.executable, "-c", "from api.cli.main import main; main()", "exchange", "--upstream", upstream]
    return servers.started([*command, "--manager", manager, "--port", str(port)], settings, port, "/", bench.folder)


def _request(brin: str) -> str:
    header = f"<autorisatiesleutel>{_KEY}</autorisatiesleutel><klantcode>K-1</klantcode><klantnaam>Meting</klantnaam>"
    asked = f"<schooljaar>{YEAR}</schooljaar><brincode>{brin}</brincode><xsdversie>2.3</xsdversie>"
    return (
        f'<soap:Envelope xmlns:soap="{SOAP}"><soap:Header><autorisatie xmlns="{AUTORISATIE}">{header}</autorisatie>'
        f'</soap:Header><soap:Body><leerlinggegevens_verzoek xmlns="{UWLR}">{asked}</leerlinggegevens_verzoek>'
        "</soap:Body></soap:Envelope>"
    )
