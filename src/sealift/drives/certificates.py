"""Why a certificate does not hold: of a host as OpenSSL says it, of a store as rustls does; in words of ours.

What holds: the reason is one of a few that ask for different things (it has expired, its CA is not trusted here, it is
for another name), and each has its own hint. Nothing that stands in the certificate is repeated. Pure: no clock, no
network.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

EXPIRED = "it, or one above it, has expired"
EARLY = "it, or one above it, is not valid yet"
NAME = "it is for another name than that of the address"
ISSUER = "it is of no CA that is trusted here"

_BY_NUMBER = {  # X509_V_ERR_ of OpenSSL's x509_vfy.h
    9: EARLY,
    10: EXPIRED,
    **dict.fromkeys((2, 7, 18, 19, 20, 21, 27), ISSUER),
    **dict.fromkeys((62, 64), NAME),
}
_BY_VARIANT = {  # of CertificateError in rustls, as Rust shows it over several lines
    "Expired": EXPIRED,
    "ExpiredContext": EXPIRED,
    "NotValidYet": EARLY,
    "NotValidYetContext": EARLY,
    "NotValidForName": NAME,
    "NotValidForNameContext": NAME,
    "UnknownIssuer": ISSUER,
    "BadSignature": ISSUER,  # a CA of the same name with another key
}
_VARIANT = re.compile(r"InvalidCertificate\(\s+([A-Za-z]{1,64})\b")  # no address has white space
_CLOCK = "see that this machine's clock is right"
_HINTS = {
    EXPIRED: "whoever runs it has to renew the certificate; " + _CLOCK,
    EARLY: _CLOCK + ", and that of whoever made the certificate",
    NAME: "give the address with a name that the certificate has, or have one made for this name",
}


def of_openssl(error: ssl.SSLCertVerificationError) -> str:
    """The reason: one of those above, or OpenSSL's own word for a rarer one."""
    return _BY_NUMBER.get(error.verify_code, (error.verify_message or "no reason was given")[:100].lower())


def of_rustls(text: str) -> str | None:
    """The reason in what obstore says; None where it is about no certificate."""
    found = _VARIANT.search(text)
    return None if found is None else _BY_VARIANT.get(found[1], found[1])


def hint(reason: str, trusted: str) -> str:
    """What to do; `trusted` says where the CAs are named that count."""
    return _HINTS.get(reason, trusted)
