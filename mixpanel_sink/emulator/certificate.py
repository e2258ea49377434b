"""A certificate for an emulator that is to speak TLS. Made at each start, by trustme."""

import ssl
from pathlib import Path


def make_context(host: str, certificate: Path | None = None) -> ssl.SSLContext:
    """A server's TLS context for ``localhost``, the loopback addresses and `host`.

    The certificate of the authority that signs for it is written to `certificate`, so that clients
    can be told to trust it. No key is written.

    Raises:
        ImportError: the package ``trustme`` is missing.
        OSError: `certificate` cannot be written.
    """
    import trustme

    authority = trustme.CA(organization_name="mixpanel emulator")
    if certificate is not None:
        authority.cert_pem.write_to_path(str(certificate))
    names = dict.fromkeys(("localhost", "127.0.0.1", "::1", host))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context
