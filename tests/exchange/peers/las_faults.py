"""What a LAS does that it should not, and what is odd of it."""

import gzip
import re
import zlib
from collections.abc import Callable
from typing import Final

from tests.exchange.peers.invented import FOREIGN, SOAP, UWLR, CallName, enveloped, invented
from tests.exchange.peers.las import SECRET, Behaviour, Reply, Request, answer_to


def _body(request: Request) -> str:
    """The answer without its envelope."""
    found = re.search(rb"Body>(.*)</\w+:Body>", answer_to(request).content, re.DOTALL)
    assert found
    return found[1].decode()


def _rewritten(change: Callable[[str], str]) -> Behaviour:
    """An answer whose body was changed, in an envelope that is right."""
    return lambda request: Reply(enveloped(change(_body(request))))


def _asked_otherwise(**otherwise: str | None) -> Behaviour:
    """An answer that is right, to what wasn't asked."""

    def behaviour(request: Request) -> Reply:
        asked = {
            "schooljaar": request.value("schooljaar") or "",
            "brincode": request.value("brincode") or "",
            "dependancecode": request.value("dependancecode"),
        }
        return Reply(invented(request.call, clean=False, **(asked | otherwise)).content)  # type: ignore[arg-type]

    return behaviour


def _of_another_call(request: Request) -> Reply:
    other: CallName = "leerlingen" if request.call != "leerlingen" else "leerkrachten"
    return Reply(invented(other, clean=False).content)


def _in_an_answer_of_another_call(request: Request) -> Reply:
    """The wrapper of what was asked, around the data of another call."""
    other: CallName = "leerlingen" if request.call != "leerlingen" else "leerkrachten"
    return Reply(
        invented(other, clean=False).content.replace(
            b"%b_antwoord" % other.encode(), request.call.encode() + b"_antwoord"
        )
    )


def _soap_fault(status: str) -> Behaviour:
    fault = (
        f"<soap:Fault><faultcode>soap:Server.InterneFout</faultcode><faultstring>{SECRET}</faultstring>"
        f"<detail><bsn>{SECRET}</bsn></detail></soap:Fault>"
    )
    return lambda request: Reply(enveloped(fault), status)


def _with_doctype(doctype: str, reference: str = "") -> Behaviour:
    def behaviour(request: Request) -> Reply:
        content = re.sub(r"(auteur>)", rf"\1{reference}", _body(request), count=1)
        return Reply(enveloped(content).replace(b"?>\n", b"?>\n" + doctype.encode(), 1))

    return behaviour


def _encoded(declared: str, codec: str) -> Behaviour:
    def behaviour(request: Request) -> Reply:
        text = answer_to(request).content.decode().replace('encoding="UTF-8"', f'encoding="{declared}"')
        text = text.replace("auteur>", "auteur>Zoë ", 1)
        content_type = (("Content-Type", "text/xml"),)
        return Reply(text.encode(codec, "xmlcharrefreplace"), headers=content_type)

    return behaviour


def _twice_in(section: str) -> Callable[[str], str]:
    """Repeats the first element of this name."""

    def change(body: str) -> str:
        found = re.search(rf"<((?:\w+:)?{section})[ >].*?</\1>", body, re.DOTALL)
        return body.replace(found[0], found[0] * 2, 1) if found else body

    return change


def _entities_nested() -> str:
    levels = "".join(f'<!ENTITY e{nth} "{f"&e{nth - 1};" * 10}">' for nth in range(1, 9))
    return f'<!DOCTYPE a [<!ENTITY e0 "{SECRET}">{levels}]>'


def _zipped(content: bytes, name: str = "gzip") -> Reply:
    packed = gzip.compress(content) if name == "gzip" else zlib.compress(content)
    return Reply(packed, headers=(("Content-Type", "text/xml; charset=utf-8"), ("Content-Encoding", name)))


def _bomb(request: Request) -> Reply:
    """A small answer that is hundreds of megabytes once it is unpacked."""
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = f'<a xmlns="{UWLR}">{SECRET}'.encode()
    packed = (
        packing.compress(start) + b"".join(packing.compress(b" " * 1_000_000) for _ in range(400)) + packing.flush()
    )
    return Reply(packed, headers=(("Content-Type", "text/xml"), ("Content-Encoding", "gzip")))


def _half(request: Request) -> Reply:
    content = answer_to(request).content
    return Reply(content[: len(content) // 2], length=len(content))


def _of_length(more: int) -> Behaviour:
    def behaviour(request: Request) -> Reply:
        content = answer_to(request).content
        return Reply(content, length=len(content) + more)

    return behaviour


def _status(status: str, *, location: str = "", right: bool = False) -> Behaviour:
    def behaviour(request: Request) -> Reply:
        headers = (("Content-Type", "text/xml"), *((("Location", location),) if location else ()))
        body = answer_to(request).content if right else f"<html>{SECRET}</html>".encode()
        return Reply(body, status, headers)

    return behaviour


def _around(before: str, after: str) -> Callable[[str], str]:
    return lambda body: before + body + after


def _hanging(request: Request) -> Reply:
    content = answer_to(request).content
    return Reply(content[: len(content) // 2], length=len(content), then="hang")


_FLOOD: Final = " ".join(f'a{nth}="{SECRET}"' for nth in range(20_000))
_DEEP: Final = "<diep>" * 20_000 + SECRET + "</diep>" * 20_000

#: Answers that HTTP brings as it should, and whose content is such that nothing of it may be released.
FAULTY_CONTENT: Final[dict[str, Behaviour]] = {
    "a fault that says it is well": _soap_fault("200 OK"),
    "another school": _asked_otherwise(brincode="17TX"),
    "another school year": _asked_otherwise(schooljaar="2025-2026"),
    "another location": _asked_otherwise(dependancecode="07"),
    "another call": _of_another_call,
    "the data of another call in the right answer": _in_an_answer_of_another_call,
    "nothing": lambda request: Reply(b""),
    "no XML": lambda request: Reply(f"Er ging iets mis met {SECRET}.".encode()),
    "a page": lambda request: Reply(f"<html><body><p>{SECRET}</p></body></html>".encode()),
    "an answer cut off": lambda request: Reply(answer_to(request).content[:-300]),
    "an answer without its last byte": lambda request: Reply(answer_to(request).content[:-1]),
    "an answer with more after it": lambda request: Reply(answer_to(request).content + f"<a>{SECRET}</a>".encode()),
    "a document type": _with_doctype("<!DOCTYPE a>"),
    "an entity": _with_doctype(f'<!DOCTYPE a [<!ENTITY e "{SECRET}">]>', "&e;"),
    "an entity from a file": _with_doctype('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hostname">]>', "&e;"),
    "entities in entities": _with_doctype(_entities_nested(), "&e8;"),
    "a document type from elsewhere": _with_doctype('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">'),
    "an undeclared entity": _rewritten(lambda body: body.replace("auteur>", "auteur>&eacute;", 1)),
    "a prefix without a namespace": _rewritten(lambda body: body.replace("auteur>", f"auteur><q:a>{SECRET}</q:a>", 1)),
    "Latin-1 that says it is UTF-8": _encoded("UTF-8", "latin-1"),
    "a byte that is no UTF-8": lambda request: Reply(answer_to(request).content.replace(b"LAS", b"LAS\xff")),
    "a null": lambda request: Reply(answer_to(request).content.replace(b"LAS", b"LAS\0")),
    "two bodies": _rewritten(lambda body: f"{body}</soap:Body><soap:Body>{body}"),
    "a body and an empty one": _rewritten(lambda body: f"</soap:Body><soap:Body>{body}"),
    "two answers in a body": _rewritten(lambda body: body + body),
    "no envelope": lambda request: Reply(_body(request).encode()),
    "an empty body": _rewritten(lambda body: ""),
    "the answer in a header": lambda request: Reply(
        enveloped("", header=f"<soap:Header>{_body(request)}</soap:Header>")
    ),
    "the answer in another element": _rewritten(_around(f'<omslag xmlns="{FOREIGN}">', "</omslag>")),
    "the answer in an answer": lambda request: Reply(
        enveloped(f'<{request.call}_antwoord xmlns="{UWLR}">{_body(request)}</{request.call}_antwoord>')
    ),
    "an envelope in the body": lambda request: Reply(
        enveloped(f'<soap:Envelope xmlns:soap="{SOAP}"><soap:Body>{_body(request)}</soap:Body></soap:Envelope>')
    ),
    "an envelope of SOAP 1.2": lambda request: Reply(
        answer_to(request).content.replace(SOAP.encode(), b"http://www.w3.org/2003/05/soap-envelope")
    ),
    "another version of the standard": _rewritten(lambda body: body.replace("leerresultaten/2/", "leerresultaten/3/")),
    "no data and data": _rewritten(
        lambda body: re.sub(r"(<[^>]*_antwoord[^>]*>)", rf'\1<geengegevens xmlns="{UWLR}"/>', body, count=1)
    ),
    "no school": _rewritten(lambda body: re.sub(r"<((?:\w+:)?school)[ >].*?</\1>", "", body, flags=re.DOTALL)),
}

#: Answers of which nothing may be released for how HTTP brings them: their status, length, coding or place.
FAULTY_HTTP: Final[dict[str, Behaviour]] = {
    "a fault": _soap_fault("500 Internal Server Error"),
    "an answer that is called a fault": _status("500 Internal Server Error", right=True),
    "not found": _status("404 Not Found"),
    "no content": lambda request: Reply(b"", "204 No Content"),
    "a page that isn't there": _status("404 Not Found", right=True),
    "out of order": _status("500 Internal Server Error"),
    "busy": _status("503 Service Unavailable"),
    "elsewhere": _status("302 Found", location="/elders"),
    "for ever elsewhere": _status("307 Temporary Redirect", location="/elders"),
    "a connection that closes half-way": _half,
    "an answer shorter than it says": _of_length(100),
    "an answer longer than it says": _of_length(-100),
    "a bomb": _bomb,
    "what is no gzip": lambda request: Reply(answer_to(request).content, headers=(("Content-Encoding", "gzip"),)),
}

#: All answers of which nothing may be released: whoever asked gets a fault.
FAULTY: Final = {**FAULTY_CONTENT, **FAULTY_HTTP}

#: Answers whose content may be refused; where it is not, what is released of it is within the grant.
ODD_CONTENT: Final[dict[str, Behaviour]] = {
    "UTF-16": _encoded("UTF-16", "utf-16"),
    "Latin-1": _encoded("ISO-8859-1", "latin-1"),
    "a byte order mark": lambda request: Reply(b"\xef\xbb\xbf" + answer_to(request).content),
    "a processing instruction": _rewritten(lambda body: body.replace("auteur>", f"auteur><?{SECRET} {SECRET}?>", 1)),
    "an instruction before everything": lambda request: Reply(
        answer_to(request).content.replace(
            b"?>\n", f'?>\n<?xml-stylesheet href="{SECRET}"?><!--{SECRET}-->'.encode(), 1
        )
    ),
    "an inclusion": _rewritten(
        lambda body: body.replace(
            "auteur>",
            'auteur><xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" href="file:///etc/hostname"/>',
            1,
        )
    ),
    "depth": _rewritten(lambda body: re.sub(r"(</(?:\w+:)?school>)", rf"{_DEEP}\1", body, count=1)),
    "a flood of attributes": _rewritten(lambda body: re.sub(r"<((?:\w+:)?school)>", rf"<\1 {_FLOOD}>", body, count=1)),
    "a flood of comments": _rewritten(lambda body: body.replace("auteur>", "auteur>" + f"<!--{SECRET}-->" * 50_000, 1)),
    "a school twice": _rewritten(_twice_in("school")),
    "groups twice": _rewritten(_twice_in("groepen")),
    "pupils twice": _rewritten(_twice_in("leerlingen")),
    "teachers twice": _rewritten(_twice_in("leerkrachten")),
    "a surname twice": _rewritten(_twice_in("achternaam")),
    "a date of birth twice": _rewritten(_twice_in("geboortedatum")),
    "a pupil twice": _rewritten(_twice_in("leerling")),
    "a teacher twice": _rewritten(_twice_in("leerkracht")),
    "an element in a value": _rewritten(
        lambda body: re.sub(r"(</(?:\w+:)?achternaam>)", rf'<b xmlns="{FOREIGN}">{SECRET}<c/>{SECRET}</b>\1', body)
    ),
    "a header": lambda request: Reply(
        enveloped(_body(request), header=f'<soap:Header><spoor xmlns="{FOREIGN}">{SECRET}</spoor></soap:Header>')
    ),
    "text between elements": _rewritten(lambda body: re.sub(r"(</(?:\w+:)?school>)", rf"\1 {SECRET} ", body, count=1)),
    "no type of content": lambda request: Reply(answer_to(request).content, headers=()),
}

#: The same of answers that HTTP brings in another coding.
ODD_HTTP: Final[dict[str, Behaviour]] = {
    "gzip": lambda request: _zipped(answer_to(request).content),
    "deflate": lambda request: _zipped(answer_to(request).content, "deflate"),
}

ODD: Final = {**ODD_CONTENT, **ODD_HTTP}

#: Answers that never come, or not in time.
SILENT: Final[dict[str, Behaviour]] = {
    "hangs half-way": _hanging,
    "hangs before the first byte": lambda request: Reply(b"", length=1000, then="hang"),
}
