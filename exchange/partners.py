"""Identifies the connection of a request, by its `autorisatie`, its own token, or its certificate."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from exchange.decisions import PrivacyManager
from exchange.requests import Credential, RequestRefused
from exchange.uwlr import Fault

CLIENT_ID_HEADER: Final = b"x-partner-client-id"

Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class CredentialsInvalid(ValueError):
    """The file of credentials is invalid. The message says why, without its content."""


class KnownCustomer(BaseModel):
    """A customer's `autorisatie`. Only the key's digest is stored, which hides it since keys are random."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    klantcode: Name
    klantnaam: Name
    sleutel_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=255)]


@dataclass(frozen=True)
class Customers:
    """The known customers, by code and name."""

    known: Mapping[tuple[str, str], KnownCustomer]

    @classmethod
    def read(cls, path: Path | None) -> "Customers":
        """Reads a file of credentials. Raises `CredentialsInvalid`."""
        if path is None:
            return cls({})
        try:
            listed = TypeAdapter(list[KnownCustomer]).validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            wrong = _reasons(error) if isinstance(error, ValidationError) else [str(error.strerror)]
            raise CredentialsInvalid(f"{path} cannot be used: {'; '.join(wrong)}") from None
        return cls.of(listed)

    @classmethod
    def of(cls, listed: Iterable[KnownCustomer]) -> "Customers":
        known: dict[tuple[str, str], KnownCustomer] = {}
        for customer in listed:
            if known.setdefault((customer.klantcode, customer.klantnaam), customer) is not customer:
                raise CredentialsInvalid(f"klantcode {customer.klantcode} is there twice with one klantnaam")
        return cls(known)

    def client_id(self, credential: Credential) -> str:
        """The connection of this `autorisatie`. Raises `RequestRefused`."""
        customer = self.known.get((credential.klantcode, credential.klantnaam))
        if customer is None:
            raise RequestRefused(Fault.UNKNOWN_CUSTOMER, "no such klantcode with such a klantnaam")
        digest = hashlib.sha256(credential.autorisatiesleutel.encode()).hexdigest()
        if not hmac.compare_digest(digest, customer.sleutel_sha256):
            raise RequestRefused(Fault.NOT_AUTHORISED, "the autorisatiesleutel is another one")
        return customer.client_id


@dataclass(frozen=True)
class Partners:
    """Identifies the connection of a request. `trusts_client_id`: a gateway in front authenticates its clients."""

    customers: Customers
    manager: PrivacyManager
    trusts_client_id: bool

    async def client_id(self, headers: Iterable[tuple[bytes, bytes]], credential: Credential | None) -> str:
        """The connection's client id. Contradictory identification is refused. Raises `RequestRefused`."""
        sent = [(name, value.decode("latin-1")) for name, value in headers if value]
        tokens = [value for name, value in sent if name == b"authorization"]
        named = [value for name, value in sent if name == CLIENT_ID_HEADER]
        if len(tokens) + len(named) > 1 or (named and not self.trusts_client_id):
            raise RequestRefused(Fault.UNKNOWN_CUSTOMER, "the partner is named in a way that is not taken here")
        if named:
            return named[0]
        if tokens:
            return await self.manager.client_id_of(tokens[0])
        if credential is None:
            raise RequestRefused(Fault.UNKNOWN_CUSTOMER, "no autorisatie")
        return self.customers.client_id(credential)


def _reasons(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False)[:10]]
