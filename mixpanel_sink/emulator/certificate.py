"""A self-signed certificate for an emulator that is to speak TLS. Made at each start."""

import datetime
import ipaddress
import ssl
import tempfile
from pathlib import Path

_DAYS = 7


def make_context(host: str, certificate: Path | None = None) -> ssl.SSLContext:
    """A server's TLS context for ``localhost``, the loopback addresses and `host`.

    The certificate, without its key, is written to `certificate`, so that clients can be told to
    trust it.

    Raises:
        ImportError: the package ``cryptography`` is missing.
        OSError: `certificate` cannot be written.
    """
    pem, key = _make(host)
    if certificate is not None:
        certificate.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The library reads files only.
    with tempfile.TemporaryDirectory(prefix="mixpanel-emulator-") as folder:
        both = Path(folder) / "both.pem"
        both.touch(mode=0o600)
        both.write_bytes(pem + key)
        context.load_cert_chain(both)
    return context


def _make(host: str) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mixpanel emulator")])
    now = datetime.datetime.now(datetime.timezone.utc)
    addresses = {ipaddress.ip_address(text) for text in ("127.0.0.1", "::1")}
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    try:
        addresses.add(ipaddress.ip_address(host))
    except ValueError:
        names.append(x509.DNSName(host))
    names += [x509.IPAddress(address) for address in sorted(addresses, key=str)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(pem), private
