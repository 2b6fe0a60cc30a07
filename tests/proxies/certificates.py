"""Certificates of an authority of the tests' own."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Issues certificates, each as two files in one folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _named(name)
        self.certificate = self._write(name, self._sign(self._subject, self._key, authority=True), self._key)

    def issue(self, name: str, company: str | None = None) -> Path:
        """The certificate; its key is beside it."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(name, self._sign(_named(name, company), key, authority=False), key)

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(_alternatives(subject), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Path:
        path = self.folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_of(path).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return path


def _alternatives(subject: x509.Name) -> x509.SubjectAlternativeName:
    """This machine, and the name itself where it is one of a host."""
    (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    hosts = [x509.DNSName(str(name.value))] if "." in str(name.value) else []
    return x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), *hosts])


def key_of(certificate: Path) -> Path:
    return certificate.with_suffix(".key")


def _named(name: str, company: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if company is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, company))
    return x509.Name(attributes)
