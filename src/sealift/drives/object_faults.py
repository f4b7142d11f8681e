"""What an object store, or the way to it, said went wrong, in words of ours: an errno, a sentence, and what to do.

Nothing of what the store sent is repeated but the name of its error: answers of S3 hold access keys and signatures, and
a hostile store says what it likes. Pure: no clock, no network.
"""

from __future__ import annotations

import errno
import re
from typing import NamedTuple

from sealift.drives import certificates
from sealift.drives.elsewhere import NOWHERE

_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")


class Trouble(NamedTuple):
    """The errno that callers go by, why, and a hint."""

    code: int
    why: str
    hint: str


_AGAIN = "run the same command again; if it stays so, ask whoever runs the store"
_KEYS = "see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and that AWS_ENDPOINT_URL is theirs"
_RIGHTS = (
    "whoever owns the bucket must allow these keys to list it and to get objects; for packing, to put, delete and "
    "abort uploads too"
)
_WHERE = "see the name of the bucket, and AWS_ENDPOINT_URL; a bucket is made with the store's own tools"
_REGION = "see AWS_REGION, and AWS_ENDPOINT_URL where the store is not Amazon's"
_CA = "SSL_CERT_FILE in the environment names a file of the CAs, in PEM, that count for stores; see AWS_ENDPOINT_URL"
_REACH = "see AWS_ENDPOINT_URL and the network, then run the same command again"

MISSING = Trouble(errno.ENOENT, "there is no such object", "`sealift inspect` says what is missing")
SHORT = Trouble(errno.EIO, "the store gave another range than it was asked for", _AGAIN)
OTHERWISE = Trouble(errno.EBADMSG, "the store does not hold what was sent; it was removed there", _AGAIN)
CUT = Trouble(errno.EIO, "the connection was cut, time and again", _REACH)
GARBLED = Trouble(errno.EIO, "its answer is no listing of a bucket", _AGAIN)
SILENT = Trouble(errno.ETIMEDOUT, "the store did not answer in time, asked again and again", _REACH)
UNREACHED = Trouble(errno.ENODEV, "the store cannot be reached", _REACH)
REPLACED = Trouble(errno.EIO, "it was replaced while it was read", "run the same command again")

ELSEWHERE = Trouble(
    errno.ENODEV, "the store redirects to another place, which is not followed", f"give that address itself: {_REGION}"
)
DENIED = Trouble(errno.EACCES, "the store denies it to these keys", _RIGHTS)
ARCHIVED = Trouble(errno.EIO, "the object is archived", "have it restored by the store first")

_BY_CODE = {
    "AccessDenied": DENIED,
    "AuthorizationHeaderMalformed": Trouble(errno.EINVAL, "the store expects another region", _REGION),
    "BadDigest": Trouble(errno.EIO, "what arrived at the store was not what was sent", _AGAIN),
    "BucketRegionError": Trouble(errno.EINVAL, "the bucket is in another region", _REGION),
    "EntityTooLarge": Trouble(errno.EFBIG, "the store takes no object of this size", "choose a smaller --pack-size"),
    "ExpiredToken": Trouble(errno.EACCES, "the session's keys have expired", "get new ones, and run it again"),
    "InvalidAccessKeyId": Trouble(errno.EACCES, "the store does not know this access key", _KEYS),
    "InvalidObjectState": ARCHIVED,
    "InvalidPart": Trouble(errno.EBADMSG, "the store has lost what was sent", _AGAIN),
    "InvalidRange": REPLACED,
    "InvalidToken": Trouble(errno.EACCES, "the store does not take this session token", _KEYS),
    "InvalidURI": Trouble(errno.ENAMETOOLONG, "the store takes no such name", "give the file another name"),
    "KeyTooLongError": Trouble(errno.ENAMETOOLONG, "the store takes no name so long", "choose a shorter prefix"),
    "NoSuchBucket": Trouble(errno.ENODEV, "there is no such bucket", _WHERE),
    "NoSuchKey": MISSING,
    "NoSuchUpload": Trouble(errno.EIO, "somebody else ended the upload", "see that nothing else writes there"),
    "PermanentRedirect": Trouble(errno.EINVAL, "the bucket is in another region", _REGION),
    "PreconditionFailed": REPLACED,
    "QuotaExceeded": Trouble(errno.EDQUOT, "the quota is used up", "have it raised, and run the same command again"),
    "RequestTimeTooSkewed": Trouble(errno.EACCES, "this machine's clock is wrong", "set it, and run it again"),
    "SignatureDoesNotMatch": Trouble(errno.EACCES, "the secret key is not that of the access key", _KEYS),
    "TokenRefreshRequired": Trouble(errno.EACCES, "the session's keys have expired", "get new ones, and run it again"),
    "XAmzContentSHA256Mismatch": Trouble(errno.EIO, "what arrived at the store was not what was sent", _AGAIN),
}
_BY_STATUS = {
    400: Trouble(errno.EINVAL, "the store does not take the request", _REGION),
    401: Trouble(errno.EACCES, "the store does not take these keys", _KEYS),
    403: Trouble(errno.EACCES, "the store refused: the keys are wrong, or may not do this", f"{_KEYS}; {_RIGHTS}"),
    404: MISSING,
    412: REPLACED,
    416: REPLACED,
    507: Trouble(errno.ENOSPC, "the store is full", "have room made there, and run the same command again"),
}
_BY_WORDS = (  # of obstore's own texts, the more special ones first
    (
        "169.254.",
        Trouble(errno.EACCES, "there are no keys for the store", f"none are set, and this host has none: {_KEYS}"),
    ),
    ("nvalid list response", GARBLED),
    ("dns error", Trouble(errno.ENODEV, "the store's name is not known", _REACH)),
    ("redirect without LOCATION", Trouble(errno.EINVAL, "the bucket is in another region", _REGION)),
    (f"{NOWHERE},\n", ELSEWHERE),  # where a redirect ends; no address of a request has a comma and the end of a line
    ("ConnectionRefused", Trouble(errno.ENODEV, "nobody answers at the store's address", _REACH)),
    ("TimedOut", SILENT),
    ("body error", CUT),
    ("error sending request", UNREACHED),
    ("equested range", Trouble(errno.EIO, "the store does not answer with the range that was asked for", _AGAIN)),
)


def trouble_of(error: BaseException) -> Trouble:
    """What an exception of obstore's means, of its own classes or Python's; raises `error` again where it is not its.

    A panic in it is no Exception, and no fault of the caller's.
    """
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    if code is not None and code[1] in _BY_CODE:
        return _BY_CODE[code[1]]
    why = certificates.of_rustls(text)
    if why is not None:
        hint = certificates.hint(why, _CA)
        return Trouble(errno.ENODEV, f"the store's certificate does not hold: {why}", hint)
    for words, trouble in _BY_WORDS:
        if words in text:
            return trouble
    number = int(status[1]) if status is not None else 0
    if number in _BY_STATUS:
        return _BY_STATUS[number]
    if 300 <= number < 400:  # one that could not be sent again
        return ELSEWHERE
    if isinstance(error, FileNotFoundError):
        return MISSING
    named = code[1] if code is not None else number or type(error).__name__
    if number >= 500:
        return Trouble(errno.EREMOTEIO, f"the store failed ({named}), time and again", _AGAIN)  # after all the patience
    return Trouble(errno.EIO, f"the store answered with an error ({named})", _AGAIN)


def of_answer(status: int, body: bytes) -> Trouble:
    """What an answer of the store means that obstore did not see: its status, and the code in its body."""
    code = _CODE.search(body[:65536].decode("utf-8", "replace"))
    if code is not None and code[1] in _BY_CODE:
        return _BY_CODE[code[1]]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    named = code[1] if code is not None else status
    if 300 <= status < 400:
        return ELSEWHERE
    if status >= 500:
        return Trouble(errno.EIO, f"the store failed ({named}), time and again", _AGAIN)
    return Trouble(errno.EIO, f"the store answered with an error ({named})", _AGAIN)


def of_host(error: OSError) -> Trouble:
    """What this host refused."""
    return Trouble(error.errno or errno.EIO, (error.strerror or "failed").lower(), "see the limits of this host")
