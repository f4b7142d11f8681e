"""A bucket that is read as it is: its keys listed, its objects read by ETag. Nothing is ever written there.

    Bucket.page      one page of a listing: keys as bytes, also those that are no paths, in the store's order
    Bucket.get       bytes of an object, if it is still the one with this ETag
    Bucket.look      size and ETag of an object as it is now

What holds: a listing goes on (each key is greater than the one before, and beneath the prefix) or fails; an answer is
read up to a limit and a deadline. Bytes that `get` returns are of the object whose ETag it was asked for, also where a
store passes over If-Match. What fails for longer than PATIENCE is a SourceFault, in words of ours and without keys;
what fails for one object alone is an OSError.

obstore reads the objects. It cannot list them: a key that is no path (a//b, ../x) ends its listing, and one that ends
in a slash loses it. So ListObjectsV2 is asked for here, signed as in uploads.py, with the keys of the environment.
"""

from __future__ import annotations

import errno
import html
import http.client
import os
import random
import re
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_to_bytes

from sealift.drives import object_faults as faults
from sealift.drives import uploads
from sealift.drives.base import SAFE_WRITING
from sealift.drives.object_client import PATIENCE, Client, client_of, endpoint, native
from sealift.drives.object_parts import PartsHasher, fits, of_parts, usual
from sealift.drives.objects import parse
from sealift.drives.waiting import waiting
from sealift.errors import BadInput, SourceFault

if TYPE_CHECKING:
    from email.message import Message

PAGE = 1000  # keys of a listing at a time, as S3 has it
SAFE = f"{SAFE_WRITING}, and nothing in the bucket was changed"
_ANSWER = 16 << 20  # bytes of a page: 1000 keys of 1024 bytes, each byte as %XX, and what stands around them
_WITHIN = (5.0, 5.0, 10.0, 10.0, 30.0)  # seconds without a byte, the first time that it is asked and so on
_DEADLINE = 120.0  # of one answer
_PAUSE = 0.1  # seconds, and twice as long each time
_CUT = 6  # times that an answer may be cut
MAX_SIZE = 1 << 50
_ETAG = re.compile(rb'(W/)?"?[\x21\x23-\x7e]{1,200}"?')
_KEYS = (
    'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (eval "$(aws configure export-credentials --format env)" does); '
    "or, for a bucket that anybody may list, AWS_SKIP_SIGNATURE=true"
)


class Listed(NamedTuple):
    """An object of a listing: its whole key, bytes, its ETag as the store wrote it, and when it was written, in ns."""

    key: bytes
    size: int
    etag: bytes
    mtime: int


class Page(NamedTuple):
    """Part of a listing, in order: objects, what keys have in common up to a delimiter, and the place it goes on from.

    `after` is empty where there is no more.
    """

    objects: list[Listed]
    prefixes: list[bytes]
    after: bytes


class Got(NamedTuple):
    """Bytes of an object, its whole size, and its ETag."""

    data: memoryview
    size: int
    etag: bytes


class Replaced(Exception):
    """The object is another one than it was asked for."""


class _Short(Exception):
    """Fewer bytes than were asked for, and than there are."""


class _Otherwise(_Short):
    """Another length than the object has under that very ETag: an answer that was cut, unless it stays so."""


class Bucket:
    """What is beneath s3://BUCKET/PREFIX; safe for threads. BadInput for another form, without keys, without obstore.

    `patience`: seconds for which a request that fails is sent again.
    """

    def __init__(self, location: str, *, patience: float = PATIENCE) -> None:
        self.place, self._patience = parse(location), patience
        self.name = str(self.place)
        self.root = f"{self.place.prefix}/".encode() if self.place.prefix else b""
        self._keys = uploads.keys_of_environment()
        if self._keys is None and os.environ.get("AWS_SKIP_SIGNATURE", "").lower() not in {"1", "true"}:
            raise BadInput(f"{self.name}: there are no keys in the environment to list it with", hint=_KEYS)
        native()
        self._client: Client | None = None

    def __repr__(self) -> str:
        return f"Bucket({self.name!r})"

    def fault(self, doing: str, trouble: faults.Trouble) -> SourceFault:
        """What ends the work: why, what is safe, and what to do."""
        return SourceFault(f"{self.name}: {doing}: {trouble.why}; {SAFE}", hint=trouble.hint)

    # Listing

    def page(self, under: bytes, after: bytes = b"", *, folders: bool = False, most: int = PAGE) -> Page:
        """Objects whose keys begin with `under` and are greater than `after`; with `folders` those up to a slash alone.

        With `folders` nothing goes on from `after`: what is beneath the last common prefix would be told again.
        SourceFault.
        """
        query: dict[str, str | bytes] = {
            "list-type": "2", "encoding-type": "url", "prefix": under, "max-keys": str(most),
        }  # fmt: skip
        if after:
            query["start-after"] = after
        if folders:
            query["delimiter"] = "/"
        doing = f"listing {os.fsdecode(under)!r}"
        trouble = faults.GARBLED
        with waiting(f"{self.name}: {doing}"):
            for attempt in range(_CUT):  # what was altered on its way is asked for again, as what was cut
                time.sleep(_PAUSE * 2**attempt if attempt else 0.0)
                try:
                    return _checked(_parse(self._answer(doing, query)), under, after, most)
                except _Senseless as error:
                    trouble = faults.GARBLED._replace(why=str(error))
                except (ValueError, OverflowError):
                    trouble = faults.GARBLED
        raise self.fault(doing, trouble)

    def _answer(self, doing: str, query: dict[str, str | bytes]) -> bytes:
        """The body of an answer to GET; asked for again while it is worth while."""
        deadline, attempt = time.monotonic() + self._patience, 0
        while True:
            try:
                return self._ask(query, _WITHIN[min(attempt, len(_WITHIN) - 1)])
            except urllib.error.HTTPError as error:
                with error:
                    trouble = faults.of_answer(error.code, error.read(65536) if error.fp else b"")
                again = error.code >= 500 or error.code in {408, 429}
            except TimeoutError:
                trouble, again = faults.SILENT, True
            except (OSError, http.client.HTTPException):
                trouble, again = faults.UNREACHED, True
            pause = min(3.0, 0.1 * 2**attempt) * (0.5 + random.random() / 2)  # noqa: S311 -- no secret
            if not again or time.monotonic() + pause > deadline:
                raise self.fault(doing, trouble)
            time.sleep(pause)
            attempt += 1

    def _ask(self, query: dict[str, str | bytes], seconds: float) -> bytes:
        region = self._keys.region if self._keys else uploads.region_of_environment()
        url = uploads.url_of(self.place.bucket, "", endpoint(), region, query)
        headers = uploads.signed("GET", url, self._keys, datetime.now(UTC)) if self._keys else {}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 -- the user's own endpoint
        deadline, parts, size = time.monotonic() + _DEADLINE, [], 0
        with urllib.request.build_opener(uploads.NoRedirects).open(request, timeout=seconds) as answer:
            while piece := answer.read1(1 << 20):
                parts.append(piece)
                size += len(piece)
                if size > _ANSWER:
                    raise http.client.HTTPException("a page that is too long")
                if time.monotonic() > deadline:
                    raise TimeoutError
            if answer.length:
                raise http.client.IncompleteRead(b"")
        body = b"".join(parts)
        if b"<ListBucketResult" in body[:4096] and not body.rstrip().endswith(b"</ListBucketResult>"):
            raise http.client.IncompleteRead(b"")
        return body

    # Reading

    @property
    def client(self) -> Client:
        """obstore, opened in this process when it is first needed."""
        self._client = client_of(self._client, self.place.bucket, self.place.prefix, self._patience)
        return self._client

    def get(self, path: str, etag: bytes, start: int, stop: int) -> Got:
        """Bytes start..stop-1 of the object at `path` beneath the prefix, fewer only where it ends before.

        Replaced where its ETag is another one than that given; OSError where this object cannot be had; SourceFault.
        """
        return self._got(path, etag, start, stop, {"range": (start, stop)} if stop > start else {})

    def whole(self, path: str, etag: bytes, size: int) -> Got:
        """All of an object of `size` bytes: in one answer, which costs some stores less than a range.

        Replaced where it is not as long, or its ETag is another one; else as `get`.
        """
        return self._got(path, etag, 0, size, {}, size=size)

    def _got(self, path: str, etag: bytes, start: int, stop: int, options: dict[str, Any], size: int = -1) -> Got:
        client = self.client
        if etag and not etag.startswith(b"W/"):  # which If-Match never holds for
            options["if_match"] = etag.decode()

        def read() -> Got:
            found = client.native.get(client.store, path, options=options)
            now, told = found.meta["size"], (found.meta["e_tag"] or "").encode()
            if etag and told != etag:
                raise Replaced
            if size >= 0 and now != size:
                raise _Otherwise if etag else Replaced
            got = Got(memoryview(found.bytes() if stop > start else b""), now, told)
            if len(got.data) != min(stop, now) - start:
                raise _Short
            return got

        doing = f"reading {path!r} at {start}"
        with waiting(f"{self.name}: {doing}"):
            got: Got = self._answered(path, doing, read)
        return got

    def look(self, path: str) -> tuple[int, bytes]:
        """Size and ETag of the object at `path` beneath the prefix, as it is now. OSError, SourceFault."""
        client = self.client

        def ask() -> Any:
            try:
                return client.native.head(client.store, path)
            except BaseException as error:
                if faults.trouble_of(error).code not in {errno.ENOENT, errno.EACCES}:
                    raise
            return client.native.get(client.store, path).meta  # a HEAD is refused without words

        doing = f"looking at {path!r}"
        with waiting(f"{self.name}: {doing}"):
            meta = self._answered(path, doing, ask)
        return meta["size"], (meta["e_tag"] or "").encode()

    def _answered(self, path: str, doing: str, function: Any) -> Any:
        """What it returns; an answer that was cut is asked for again. Replaced, OSError, SourceFault."""
        attempt = 0
        while True:
            try:
                return function()
            except Replaced:
                raise
            except _Short as error:
                trouble, otherwise = faults.SHORT, isinstance(error, _Otherwise)
            except BaseException as error:  # noqa: BLE001 -- obstore's own classes; others are raised again
                trouble, otherwise = faults.trouble_of(error), False
            attempt += 1
            if trouble not in {faults.CUT, faults.SHORT} or attempt == _CUT:
                break
            time.sleep(0.1 * 2**attempt)
        if trouble == faults.REPLACED or otherwise:
            raise Replaced
        if trouble in {faults.MISSING, faults.DENIED, faults.ARCHIVED}:  # of this object, and not of the store
            raise OSError(trouble.code, trouble.why, path)
        raise self.fault(doing, trouble)

    def encrypted_with_own_keys(self, path: str) -> bool:
        """Whether the store says that it encrypts this object with keys that are not its own: its ETag is no digest.

        Amazon's S3 API reference, "Common response headers" (ETag).
        """
        told = self._head(path, {})
        return told is not None and _encrypted(told)

    def hasher_of(self, path: str, etag: bytes, size: int) -> PartsHasher | None:
        """For all bytes of an object that was put in parts, where their size can be known; else None.

        Asked of the store (HEAD with partNumber, which Amazon's answers and not every one), else a usual size is taken.
        """
        found = of_parts(etag)
        told = None if found is None else self._head(path, {"partNumber": "1"})
        if found is None or told is None or _encrypted(told):
            return None
        first, count = str(told.get("Content-Length", "")), str(told.get("x-amz-mp-parts-count", ""))
        if (
            first.isdecimal()
            and count == str(found[1])
            and told.get("ETag", "").strip('"').encode() == etag.strip(b'"')
        ):
            part = int(first)
            return PartsHasher(part, told=True) if fits(size, found[1], part) else None
        likely = usual(size, found[1])
        return None if likely is None else PartsHasher(likely, told=found[1] == 1)

    def _head(self, path: str, query: dict[str, str | bytes]) -> Message | None:
        """What the store says of an object, with nothing of obstore's left out; None where it does not."""
        if self._keys is None:
            return None
        name = self.root.decode() + path
        url = uploads.url_of(self.place.bucket, name, endpoint(), self._keys.region, query).removesuffix("?")
        try:
            return uploads.asked("HEAD", url, self._keys)[0]
        except (OSError, http.client.HTTPException):
            return None


class _Senseless(ValueError):
    """A listing of objects that cannot be it."""


def _checked(found: Page, under: bytes, after: bytes, most: int) -> Page:
    """What a store lists where it lists what it was asked for; and where it goes on."""
    keys = [each.key for each in found.objects]
    names = sorted([*keys, *found.prefixes])
    in_order = keys == sorted(set(keys)) and len(set(names)) == len(names) and len(names) <= most
    if not in_order or any(not name.startswith(under) or name <= after for name in names):
        raise _Senseless("it lists keys out of order, or others than asked for")
    if not found.after:
        return found
    if not names:
        raise _Senseless("its listing says that it goes on, and does not")
    return found._replace(after=names[-1])


def _encrypted(told: Message) -> bool:
    customer = told.get("x-amz-server-side-encryption-customer-algorithm")
    return bool(customer) or str(told.get("x-amz-server-side-encryption", "")).startswith("aws:kms")


def strong_digest(etag: bytes) -> bytes | None:
    """The MD5 that an ETag is, where it can be one; None for one of an upload in parts, and for others."""
    text = etag.strip(b'"')
    try:
        return bytes.fromhex(text.decode()) if len(text) == 32 else None
    except ValueError:
        return None


def _parse(body: bytes) -> Page:
    """An answer to ListObjectsV2; ValueError for what is none. `after` says no more than that there is more."""
    if b"<ListBucketResult" not in body[:4096]:
        raise ValueError("no listing")
    entries, head = _elements(body, b"Contents")
    folders, head = _elements(head, b"CommonPrefixes")
    encoded = b"<EncodingType>url</EncodingType>" in head

    def name(text: bytes) -> bytes:
        if not encoded:
            return html.unescape(text.decode()).encode()
        return unquote_to_bytes(html.unescape(text.decode("ascii")).replace("+", " "))

    objects = []
    for entry in entries:
        size = int(_element(entry, b"Size"))
        if not 0 <= size <= MAX_SIZE:
            raise ValueError("size")
        etag = html.unescape(_element(entry, b"ETag").decode()).encode() if b"<ETag>" in entry else b""
        if not _ETAG.fullmatch(etag):
            etag = b""
        moment = _nanoseconds(_element(entry, b"LastModified").decode())
        objects.append(Listed(name(_element(entry, b"Key")), size, etag, moment))
    prefixes = [name(_element(folder, b"Prefix")) for folder in folders]
    return Page(objects, prefixes, b"more" if b"<IsTruncated>true</IsTruncated>" in head else b"")


def _elements(text: bytes, name: bytes) -> tuple[list[bytes], bytes]:
    """What is in each element of this name, and what is around them. Linear, whatever the text."""
    first, *rest = text.split(b"<%b>" % name, PAGE + 1)
    found, around = [], [first]
    for each in rest:
        inner, ending, after = each.partition(b"</%b>" % name)
        if not ending:
            raise ValueError(name)
        found.append(inner)
        around.append(after)
    if len(found) > PAGE:
        raise ValueError("more than a page")
    return found, b"".join(around)


def _element(text: bytes, name: bytes) -> bytes:
    """What is in the only element of this name."""
    (found,), _ = _elements(text, name)
    return found


def _nanoseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
