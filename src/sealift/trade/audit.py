"""What is signed in an audit bundle and by which rules, and OPEN-ME.txt, which checks it without sealift.

What holds: `SIGNED` has every kind of record that bears a signature, with the one namespace, the decoder and the time
at which its key is judged. `open_me` is a function of the bundle's files alone; the lines in it that begin with four
blanks are commands, and are all that somebody needs who has a shell, tar, b3sum, grep and ssh-keygen (OpenSSH 8.7 or
later, which knows verify-time; it takes a time with a Z from 9.1 on, and earlier ones their own time zone, so that each
command sets that to UTC and gives the time without one).

What is not here: what the records must hold together (stages/audit_judge.py).
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from sealift.errors import FormatError, SignatureInvalid
from sealift.formats import allowed_signers, audit, manifest, seal, sshsig
from sealift.trade import certificate, custody_event, declaration, keys, receipt, release, screening, source_release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.audit import Kind


class Signed(NamedTuple):
    """How a kind of record is signed: its namespace, its decoder, and the time that it states ("" if none)."""

    namespace: str
    decode: Callable[[bytes], Any]
    at: Callable[[Any], str]


SIGNED: dict[Kind, Signed] = {
    "declaration": Signed(release.AUTHOR_NAMESPACE, declaration.parse_draft, lambda _record: ""),
    "release": Signed(release.NAMESPACE, release.decode, lambda record: record.released_at),
    "sealed-release": Signed(release.NAMESPACE, release.decode, lambda record: record.released_at),
    "screening": Signed(screening.NAMESPACE, screening.decode, lambda record: record.at),
    "keys": Signed(keys.NAMESPACE, keys.decode, lambda record: record.at),
    "seal": Signed(manifest.NAMESPACE, seal.decode_seal, lambda record: record.sealed_at),
    "manifest": Signed(manifest.NAMESPACE, manifest.decode_manifest, lambda _record: ""),
    "custody-event": Signed(custody_event.NAMESPACE, custody_event.decode, lambda record: record.at_utc),
    "receipt": Signed(receipt.NAMESPACE, receipt.decode, lambda record: record.at),
    "source-release": Signed(source_release.NAMESPACE, source_release.decode, lambda record: record.at),
    "certificate": Signed(certificate.NAMESPACE, certificate.decode, lambda record: record.ended_at),
}
TIME = "%Y-%m-%dT%H:%M:%SZ"

_HEAD = """\
SEALIFT AUDIT BUNDLE: {ids}

Every record of {what}: the declaration and who released it, who was screened, whose keys were proved, what
was sealed, who had which drive when, what arrived, what was freed and what was erased. Put together at {at}.

You need a POSIX shell with its usual tools (find, grep, sed, sort), and: tar, b3sum (BLAKE3),
ssh-keygen ({openssh}). Lines that begin with four blanks are commands; each says WRONG
when something is, and ends with another status than 0.

`signers:1: key is not permitted for use in signature namespace`, or the like, is no fault by itself: ssh-keygen
says it of each line of `signers` that names the key for something else, before it finds the one that counts.

1. Unpack it in an empty folder, and stay there. (BUNDLE.tar stands for the archive.)

    tar -xf BUNDLE.tar

2. Whose word is it? The file `signers` names who may sign what. It came with the bundle, so it proves nothing by
   itself: compare its keys with ones that you have from somebody you trust, or put your own file in its place. Then:

    {index}

3. The index names the digest of B3SUMS, and B3SUMS that of every other file; no more files are here.

    {sums} || {{ echo WRONG: B3SUMS; false; }}
    b3sum --check --quiet B3SUMS || {{ echo WRONG: a file that B3SUMS names; false; }}
    {more} || {{ echo WRONG: a file that B3SUMS does not name; false; }}

4. Every record, by whoever signed it, with a key that was valid when it says that it was made.

"""
_TAIL = """
5. What belongs together. `kind` and `of` in audit.json say what each file is. A record names another by length and
   BLAKE3, which B3SUMS has too: a release names its declaration ("declaration"), the rules, the screening and the
   record of keys; a seal its declaration, its release and every manifest; a receipt the seal; a release of the source
   its receipts; a certificate the receipt and its log. The name of a custody event is its own BLAKE3; an event names
   those before it. A side of an event without a "key_fingerprint" signed by hand: its signature is a photograph of the
   paper, and "paper_sha256" its name in `photographs`. Look whether each is here; `sealift audit --verify` does, and
   looks at the rules of the house.

The records say what people stated and decided. They are no legal advice.
"""


# of the row of B3SUMS alone, whose three lines canonical JSON has in this order
_SUMS = (
    """sed -n '/"path": "B3SUMS"/,/"blake3"/p' audit.json"""
    r""" | grep -q "\"blake3\": \"$(b3sum --no-names B3SUMS)\"" """.rstrip()
)
_HERE = r"find . ! -type d | sed 's,^\./,,' | grep -vx -e 'audit\.json' -e 'audit\.json\.sig' -e B3SUMS -e '[^/]*\.tar'"
_MORE = f'test "$({_HERE} | LC_ALL=C sort)" = "$(sed \'s/^.\\{{66\\}}//\' B3SUMS | LC_ALL=C sort)"'


def name_of(principals: str) -> str:
    """A name that a line of allowed signers with these patterns stands for: what ssh-keygen's -I wants."""
    for pattern in principals.split(","):
        name = pattern.replace("*", "x").replace("?", "x")
        if not pattern.startswith("!") and allowed_signers.matches(name, principals):
            return name
    return principals


def command(path: str, signature: str, signer: str, namespace: str, at: str) -> str:
    """The line that checks a signature; `at` is a time as records state it.

    It says itself when it fails: with -q ssh-keygen is silent about a key that no line of `signers` allows.
    """
    when = at.replace("-", "").replace(":", "").replace("T", "").removesuffix("Z")
    words = ["ssh-keygen", "-Y", "verify", "-q", "-f", "signers", "-I", name_of(signer), "-n", namespace]
    check = f"{shlex.join([*words, '-O', f'verify-time={when}', '-s', signature])} < {shlex.quote(path)}"
    return f"TZ=UTC0 {check} || {{ echo WRONG: {shlex.quote(signature)}; false; }}"


def open_me(files: Mapping[str, bytes], allowed: AllowedSigners, made_at: str, by: str) -> bytes:
    """OPEN-ME.txt over all other files of a bundle; `by` are the principals of who signs its index."""
    ids = audit.shipments(files)
    index = command(audit.INDEX, audit.INDEX_SIG, by, audit.NAMESPACE, made_at)
    what = "a shipment" if len(ids) == 1 else f"{len(ids)} shipments"
    dated = any(line.valid_after or line.valid_before for line in allowed.lines)
    openssh = "OpenSSH 9.1 or later: `signers` has times" if dated else "OpenSSH 8.7 or later"
    text = _HEAD.format(ids=", ".join(ids), what=what, at=made_at, index=index, openssh=openssh, sums=_SUMS, more=_MORE)
    for good, line in _commands(files, allowed, made_at):
        text += f"    {line}\n" if good else f"    echo WRONG: {shlex.quote(line)} is not signed as it must be; false\n"
    return (text + _TAIL).encode()


def _commands(files: Mapping[str, bytes], allowed: AllowedSigners, made_at: str) -> Iterator[tuple[bool, str]]:
    """Of every signature: whether it holds, and the command that checks it; or the name of what lacks one."""
    times = sealed_times(files)
    for path in audit.order(files):
        found = audit.describe(path)
        if found is None or found.kind not in {"signature", "second-signature"}:
            continue
        of = audit.describe(found.of)
        how = SIGNED.get(of.kind) if of else None
        if how is None:
            continue
        if found.of not in files:
            yield False, path
            continue
        try:
            at = stated(found.of, files[found.of], times) or made_at
            key = sshsig.parse(files[path]).public_key
            lines = [line for line in allowed.lines if line.key == key]
            good = [line for line in lines if line.objection(how.namespace, _Moment(at), None) is None]
            sshsig.verify(files[found.of], files[path], how.namespace)
        except (FormatError, SignatureInvalid):
            yield False, path
            continue
        yield bool(good), command(found.of, path, good[0].principals, how.namespace, at) if good else path


class _Moment:
    """A time as records state it, as allowed signers are asked."""

    def __init__(self, text: str) -> None:
        self._text = text

    def timestamp(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return receipt.instant(self._text, "record").timestamp()


def stated(path: str, data: bytes, times: Mapping[str, str]) -> str:
    """The time at which the key of a record is judged: its own, or that of the seal that binds it; "" if there is none.

    `times` are those of `sealed_times`. FormatError for bytes that are no such record.
    """
    found = audit.describe(path)
    how = SIGNED[found.kind] if found else SIGNED["release"]
    return str(how.at(how.decode(data))) or times.get(digest(data), "")


def digest(data: bytes) -> str:
    """BLAKE3 in hexadecimal."""
    return custody_event.digest_of(data)


def sealed_times(files: Mapping[str, bytes]) -> dict[str, str]:
    """By digest of a manifest, when the first seal that names it was made; of a declaration, when it was released."""
    times: dict[str, str] = {}
    for path, data in files.items():
        found = audit.describe(path)
        if found is None or found.kind not in {"seal", "release"}:
            continue
        try:
            record = SIGNED[found.kind].decode(data)
        except FormatError:
            continue
        at = SIGNED[found.kind].at(record)
        bound = [(record.declaration, at)] if found.kind == "release" else [
            (group.manifest, group.first_sealed_at or at) for group in record.groups
        ]  # fmt: skip
        for each, when in bound:
            times[each.blake3] = min(when, times.get(each.blake3, when))
    return times


def named(kind: str, record: Any) -> Iterator[tuple[str, str]]:
    """Digests that a record names without a record beneath, and where such a file lies."""
    if kind == "screening":
        yield from ((row.sha256, f"lists/{row.sha256}") for row in record.lists)
    elif kind == "receipt":
        yield from ((row.blake3, f"reports/{row.blake3}.json") for row in record.reports)
    else:
        taken = [*record.photo_sha256, record.released_by.paper_sha256, record.received_by.paper_sha256]
        yield from ((each, f"photographs/{each}") for each in taken if each)


def consignment(record: Any) -> str:
    """Of which consignment a record is."""
    found: str = record.declaration.id if hasattr(record, "geometry") else record.consignment_id
    return found
