"""A reader of audit bundles that shares no code with sealift: the standard library, b3sum and ssh-keygen.

    python -I audit_reader.py BUNDLE.tar SIGNERS

Written from docs/spec/audit.md and the pages of the records. Prints `FILE: WHY` for everything that does not hold, and
exits with 1; prints nothing and exits with 0 where everything does. Nothing that is only not there yet is said.
"""

import base64
import datetime as dt
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib

NAMESPACES = {
    "release": "sealift-release", "screening": "sealift-screening", "keys": "sealift-keys", "seal": "sealift",
    "manifest": "sealift", "receipt": "sealift-receipt", "source-release": "sealift-source-release",
    "certificate": "sealift-certificate", "custody-event": "sealift-custody", "audit": "sealift-audit",
}  # fmt: skip
TIMES = {"release": "released_at", "seal": "sealed_at", "custody-event": "at_utc", "certificate": "ended_at",
         "audit": "made_at"}  # fmt: skip
SKEW = dt.timedelta(minutes=10)
TOP = re.compile(r"OPEN-ME\.txt|audit\.json(\.sig)?|B3SUMS|signers|papers/[A-Za-z0-9][A-Za-z0-9._-]*")
BENEATH = re.compile(
    r"shipments/[A-Za-z0-9][A-Za-z0-9._-]{2,63}/"
    r"(declaration(\.r\d+)?\.toml|declaration\.r\d+\.toml\.sig|rules\.\d+\.toml"
    r"|(screening|keys|release|manifest|receipt|source-release|certificate)\.\d+\.json(\.sig)?"
    r"|screening\.\d+\.json\.second\.sig|certificate\.\d+\.log\.jsonl"
    r"|seal\.\d+/(seal\.json|seal\.json\.sig|declaration\.toml|release\.json|release\.json\.sig)"
    r"|custody/[0-9a-f]{64}(\.json|-[0-9a-f]{16}\.sig)|(lists|photographs)/[0-9a-f]{64}|reports/[0-9a-f]{64}\.json)"
)

faults = []


def fault(path, why):
    faults.append(f"{path}: {why}")


def attempt(path, work, *args):
    """A record that lacks what its page says it has is a fault of its own."""
    try:
        return work(path, *args)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return fault(path, f"not as its page says: {error!r}")


def unpack(data):
    """Names and bytes of the archive; a header is compared with the one that its name and length make."""
    files, at, last = {}, 0, "the beginning"
    while data[at : at + 1] not in {b"\0", b""}:
        block = data[at : at + 512]
        name = block[:100].rstrip(b"\0").decode("ascii", "replace")
        folder = block[345:500].rstrip(b"\0").decode("ascii", "replace")
        path = f"{folder}/{name}" if folder else name
        if not (TOP.fullmatch(path) or BENEATH.fullmatch(path)) or path in files:
            sys.exit(f"{path!r} after {last}: no file of a bundle")
        size = block[124:135]
        if not re.fullmatch(rb"[0-7]{11}", size):
            sys.exit(f"{path}: its length is no number")
        wanted = name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size + b"\0" + b"00000000000\0"
        rest = b"0" + bytes(100) + b"ustar\x0000" + bytes(80) + folder.encode().ljust(155, b"\0") + bytes(12)
        total = sum(wanted) + 8 * 32 + sum(rest)
        if block != wanted + b"%06o\0 " % total + rest:
            sys.exit(f"{path}: its header is not the one of its name and length")
        length = int(size, 8)
        at += 512
        files[path] = data[at : at + length]
        padding = data[at + length : at + length + -length % 512]
        if len(files[path]) != length or padding != bytes(-length % 512):
            sys.exit(f"{path}: cut, or not filled up with zeros")
        at += length + -length % 512
        last = path
    if data[at:] != bytes(1024):
        sys.exit(f"after {last}: not two empty blocks and nothing else")
    first = [each for each in ("OPEN-ME.txt", "audit.json", "audit.json.sig", "B3SUMS") if each in files]
    if list(files) != first + sorted(set(files) - set(first)):
        sys.exit(f"{next(iter(files))}: not in order")
    return files


def sums(folder, paths):
    """BLAKE3 by name, by b3sum."""
    done = subprocess.run(["b3sum", *paths], cwd=folder, capture_output=True, text=True, check=True)
    return {line[66:]: line[:64] for line in done.stdout.splitlines()}


def content(seal):
    """What a seal says, but for its times."""
    groups = [{name: value for name, value in each.items() if name != "first_sealed_at"} for each in seal["groups"]]
    return {**seal, "sealed_at": "", "groups": groups}


def when(text):
    return dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.UTC)


def people(path):
    """Fingerprint of each key of the signers -> names and keys of its person, by signatures.md."""
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    rows = []
    for line in lines:
        blob = re.search(r"(?:ssh|sk|ecdsa)-\S+ (AAAA\S+)", line)[1]
        digest = base64.b64encode(hashlib.sha256(base64.b64decode(blob)).digest()).decode().rstrip("=")
        rows.append((line.split()[0].strip('"').casefold(), "SHA256:" + digest))
    groups = [{name, key} if not re.search(r"[*?!,]", name) else {key} for name, key in rows]
    for group in groups:
        grown = -1
        while grown != len(group):
            grown = len(group)
            group.update(*(other for other in groups if other & group))
    return {key: group for (_, key), group in zip(rows, groups, strict=True)}


def serials_of(event):
    return {serial for item in event["items"] for serial in item["serials"]}


class Reader:
    def __init__(self, files, folder, signers):
        self.files, self.folder, self.signers = files, folder, signers
        self.people = people(signers)
        self.digest = sums(folder, list(files))
        self.records, self.keys = {}, {}

    def signed(self, path, signature, namespace, at):
        """Fingerprint of the key, by ssh-keygen; None, and a fault, where the signature does not hold."""
        if signature not in self.files:
            return fault(signature, "not here")
        time = "verify-time=" + re.sub("[-:T]", "", at)
        common = ["-f", self.signers, "-s", os.path.join(self.folder, signature), "-O", time]
        who = subprocess.run(
            ["ssh-keygen", "-Y", "find-principals", *common], capture_output=True, text=True, check=False
        )
        for name in who.stdout.split("\n")[0].split(","):
            done = subprocess.run(
                ["ssh-keygen", "-Y", "verify", *common, "-n", namespace, "-I", name or "nobody"],
                input=self.files[path], capture_output=True, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                return done.stdout.decode().split()[-1]
        fault(path, f"{signature} does not hold")
        return None

    def same(self, one, other):
        """Two keys, or a key and a name, are one person's."""
        return other in self.people.get(one, {one})

    def index(self, path):
        record = self.json(path)
        if record is None:
            return
        self.signed("audit.json", "audit.json.sig", NAMESPACES["audit"], record["made_at"])
        named = {row["path"]: row for row in record["files"]}
        for each in set(self.files) - {"audit.json", "audit.json.sig"} ^ set(named):
            fault(each, "in the index or in the archive, and not in both")
        for each, row in named.items():
            if each in self.files and (len(self.files[each]), self.digest[each]) != (row["bytes"], row["blake3"]):
                fault(each, "not what the index says")
        lines = [f"{row['blake3']}  {each}\n" for each, row in named.items() if each != "B3SUMS"]
        if self.files.get("B3SUMS", b"").decode("ascii", "replace") != "".join(lines):
            fault("B3SUMS", "not what the index says")

    def json(self, path):
        """A record, if it is in canonical form."""
        try:
            text = self.files[path].decode()
            record = json.loads(text)
            if json.dumps(record, indent=2, ensure_ascii=False) + "\n" == text:
                return record
        except (KeyError, ValueError):
            pass
        return fault(path, "not canonical JSON, or not here")

    def toml(self, path):
        try:
            return tomllib.loads(self.files[path].decode())
        except ValueError:
            return fault(path, "not TOML")

    def load(self, shipment):
        """Every record of a shipment with its signature: kind -> {path: record}; and declarations and rules."""
        found = {}
        for path in self.files:
            if not path.startswith(f"shipments/{shipment}/"):
                continue
            rest = path.removeprefix(f"shipments/{shipment}/")
            if re.fullmatch(r"declaration(\.r\d+)?\.toml|rules\.\d+\.toml", rest):
                found.setdefault(rest.split(".")[0], {})[path] = self.toml(path)
            elif rest.startswith("custody/") and rest.endswith(".json"):
                attempt(path, self.record, "custody-event", found)
            elif re.fullmatch(r"seal\.\d+/seal\.json", rest):
                attempt(path, self.record, "seal", found)
            elif kind := re.fullmatch(r"([a-z-]+)\.\d+\.json", rest):
                attempt(path, self.record, kind[1], found)
        return found

    def record(self, path, kind, found):
        record = self.json(path)
        if record is None or record.get("type") != f"sealift-{kind}":
            return fault(path, "of another type")
        if self.digest[path] in {self.digest[each] for each in found.get(kind, {})}:
            fault(path, "the same record is there under another name")
        found.setdefault(kind, {})[path] = record
        if kind not in {"custody-event", "manifest"}:
            at = record[TIMES.get(kind, "at")]
            self.keys[path] = self.signed(path, f"{path}.sig", NAMESPACES[kind], at)
        if f"{path}.second.sig" in self.files:
            second = self.signed(path, f"{path}.second.sig", NAMESPACES[kind], record["at"])
            self.keys[f"{path}.second.sig"] = second
            if second is None or self.same(second, self.keys[path]):
                fault(path, "no second person signed it")
        return None

    # --- what binds what

    def bound(self, path, ref, among, what):
        """The file of `among` with this length and digest."""
        for each in among:
            if (len(self.files[each]), self.digest[each]) == (ref["bytes"], ref["blake3"]):
                return each
        return fault(path, f"the {what} that it binds is not here")

    def shipment(self, folder):
        name = folder.removeprefix("shipments/")
        found = self.load(name)
        declarations = {path: each for path, each in found.get("declaration", {}).items() if each}
        numbers = {}
        for path, each in declarations.items():
            number = re.search(r"\.r(\d+)\.toml$", path)
            if number is None and each.get("revision", 1) in numbers:
                fault(path, "a draft with the number of a revision that was released")
                continue
            numbers[each.get("revision", 1)] = path
            if each["consignment_id"] != name or (number and int(number[1]) != each.get("revision", 1)):
                fault(path, "another consignment or revision")
        for number, path in numbers.items():
            before = numbers.get(number - 1)
            if number > 1 and (before is None or declarations[path]["supersedes"] != self.digest[before]):
                fault(path, "does not supersede the revision before")
        attempt(f"shipments/{name}", self.to_come, found)
        self.alone(name)
        for path, record in found.get("release", {}).items():
            attempt(path, self.release, record, found, declarations)
        self.unbound(name, found, declarations)
        for path, record in found.get("seal", {}).items():
            attempt(path, self.seal, record, found, declarations)
        attempt(f"shipments/{name}/custody/", self.custody, name, found)
        for path, record in found.get("receipt", {}).items():
            attempt(path, self.receipt, record, found)
        for path, record in found.get("source-release", {}).items():
            attempt(path, self.source_release, record, found)
        for path, record in found.get("certificate", {}).items():
            attempt(path, self.certificate, record, found, declarations)
        return found

    def alone(self, name):
        """Signatures of which the record is not here: somebody signed one that was removed."""
        for path in self.files:
            if path.startswith(f"shipments/{name}/") and path.endswith(".sig"):
                of = path.removesuffix(".sig").removesuffix(".second")
                of = f"{path[:-21]}.json" if f"{name}/custody/" in path else of
                if of not in self.files:
                    fault(of, "not here, and it was signed")

    def to_come(self, _path, found):
        """Records later than the bundle, which nothing names that is not; seals of which none says the same in time."""
        limit = when(json.loads(self.files["audit.json"])["made_at"]) + SKEW
        times = {
            path: when(record[TIMES.get(kind, "at")])
            for kind, records in found.items()
            if kind not in {"declaration", "rules", "manifest"}
            for path, record in records.items()
        }
        here = [path for path, at in times.items() if at <= limit]
        said = [content(found["seal"][path]) for path in here if path in found.get("seal", {})]
        for path in set(times) - set(here) - set(found.get("custody-event", {})):
            named = path not in found.get("receipt", {}) and self.named(path, times, here)
            again = path in found.get("seal", {}) and content(found["seal"][path]) in said
            again = again or self.released_again(path, found.get("release", {}), here)
            again = again or any(self.made_anew(path, found.get(kind, {}), here) for kind in ("screening", "keys"))
            if not named and not again:
                fault(path, "it is later than the bundle")

    def released_again(self, path, releases, here):
        """Whether a release that is not later is of the same bytes, or of a later revision."""
        mine = releases.get(path)
        others = [releases[each] for each in here if each in releases]
        return mine is not None and any(
            each["declaration"] == mine["declaration"] or each["revision"] > mine["revision"] for each in others
        )

    def made_anew(self, path, records, here):
        """Whether a record that is not later stands beside it, and is none that it supersedes, one after the other."""
        by_digest = {self.digest[each]: each for each in records}
        beneath, at = set(), path if path in records else None
        while at is not None:
            beneath.add(at)
            before = records[at]["supersedes"]
            at = by_digest.get(before["blake3"] if isinstance(before, dict) else before)
        return bool(beneath) and any(each in here for each in set(records) - beneath)

    def named(self, path, times, here):
        """Whether a record of before names it, or one that such a record names."""
        digest = self.digest[path].encode()
        by = [each for each in times if digest in self.files[each]]
        return any(each in here or self.named(each, times, here) for each in by)

    def unbound(self, name, found, declarations):
        """Files that no record names: revisions that were not released, rules, lists, photographs, reports."""
        releases = found.get("release", {}).values()
        named = {each[what]["blake3"] for each in releases for what in ("declaration", "rules")}
        of_rules = [each for each in self.files if re.match(rf"shipments/{re.escape(name)}/rules", each)]
        revisions = [each for each in declarations if re.search(r"\.r\d+\.toml$", each)]
        for path in [*of_rules, *revisions]:
            if self.digest[path] not in named:
                fault(path, "no release names it")
        lists = {row["sha256"] for each in found.get("screening", {}).values() for row in each["lists"]}
        photographs = {
            each
            for event in found.get("custody-event", {}).values()
            for each in (*event["photo_sha256"], *(event[s]["paper_sha256"] for s in ("released_by", "received_by")))
        }
        reports = {row["blake3"] for each in found.get("receipt", {}).values() for row in each["reports"]}
        for path, data in self.files.items():
            kind = re.match(rf"shipments/{re.escape(name)}/(lists|photographs|reports)/([0-9a-f]+)", path)
            if kind:
                digest = self.digest[path] if kind[1] == "reports" else hashlib.sha256(data).hexdigest()
                wanted = {"lists": lists, "photographs": photographs, "reports": reports}[kind[1]]
                if digest != kind[2] or digest not in wanted:
                    fault(path, "not what its name says, or no record names it")

    def fingerprint(self, line):
        done = subprocess.run(
            ["ssh-keygen", "-l", "-f", "/dev/stdin"], input=line.encode(), capture_output=True, check=False
        )
        return done.stdout.decode().split()[1]

    def release(self, path, record, found, declarations):
        of = self.bound(path, record["declaration"], declarations, "declaration")
        rules = self.bound(path, record["rules"], found.get("rules", {}), "rules file")
        if of is None or rules is None:
            return
        author = declarations[of]["author"]
        same = " ".join(record["officer"].casefold().split()) == " ".join(author["name"].casefold().split())
        writer = self.fingerprint(author["public_key"])
        if self.same(self.keys[path], writer) or self.same(self.keys[path], author["email"].casefold()) or same:
            fault(path, "released by the author")
        if self.signed(of, f"{of}.sig", "sealift-declaration", record["released_at"]) != writer:
            fault(f"{of}.sig", "not by the author whom the declaration names")
        if self.files.get(f"{of}.sig") != record["author_signature"].encode():
            fault(f"{of}.sig", "not the one that was released")
        at, rules = when(record["released_at"]), found["rules"][rules]
        screening = self.bound(path, record["screening"], found.get("screening", {}), "screening")
        if screening is not None:
            self.screened(screening, found["screening"][screening], at, rules.get("list_days", 7))
            if self.same(self.keys.get(f"{screening}.second.sig"), writer):
                fault(screening, "the author looked at its decisions the second time")
        keys = self.bound(path, record["keys"], found.get("keys", {}), "record of keys")
        if keys is not None:
            self.proved(keys, found["keys"][keys], at, rules.get("keys_days", 30))

    def screened(self, path, record, at, days):
        for row in record["lists"]:
            if at - when(row["fetched"]) > dt.timedelta(days=days):
                fault(path, "its lists were too old when it was released")
        hits = [hit for party in record["parties"] for hit in party["hits"]]
        if any(hit["decision"] is None or hit["decision"]["disposition"] != "false_positive" for hit in hits):
            fault(path, "it was released with a hit that nobody cleared")
        if hits and f"{path}.second.sig" not in self.files:
            fault(path, "nobody looked at its decisions a second time")

    def proved(self, path, record, at, days):
        for row in record["recipients"]:
            passed = [when(each["made_at"]) for each in row["challenges"] if each["passed"]]
            if not passed or at - max(passed) > dt.timedelta(days=days):
                fault(path, "it was released with a key that was not proved in time")

    def seal(self, path, record, found, declarations):
        folder = path.removesuffix("seal.json")
        parts = {"declaration": "declaration.toml", "release": "release.json", "release_signature": "release.json.sig"}
        for field, name in parts.items():
            if folder + name not in self.files:
                fault(folder + name, "not here")
            else:
                self.bound(folder + name, record[field], [folder + name], field)
        of = self.bound(path, record["declaration"], declarations, "declaration")
        release = self.bound(path, record["release"], found.get("release", {}), "release")
        if release is not None and self.same(self.keys[release], self.keys[path]):
            fault(path, "sealed and released by one person")
        self.signed(folder + "release.json", folder + "release.json.sig", "sealift-release",
                    self.json(folder + "release.json")["released_at"])  # fmt: skip
        packed = sorted(drive["serial"] for group in record["groups"] for drive in group["drives"])
        if of is not None and packed != sorted(row["serial"] for row in declarations[of]["drives"]):
            fault(path, "other drives than the declared ones")
        named = {group["manifest"]["blake3"] for group in record["groups"]}
        for each, manifest in found.get("manifest", {}).items():
            if manifest["shipment"] != record["shipment"] or self.digest[each] not in named:
                fault(each, "of no group that was sealed")
            if f"{each}.sig" in self.files:
                times = [group.get("first_sealed_at", record["sealed_at"]) for group in record["groups"]
                         if group["manifest"]["blake3"] == self.digest[each]]  # fmt: skip
                self.signed(each, f"{each}.sig", "sealift", (times or [record["sealed_at"]])[0])

    def custody(self, _path, name, found):
        events = found.get("custody-event", {})
        released = min((each["released_at"] for each in found.get("release", {}).values()), default="9")
        digests = {path[-69:-5] for path in events}
        beneath = {path[-69:-5]: event for path, event in events.items()}
        for path, event in events.items():
            if self.digest[path] != path[-69:-5] or event["consignment_id"] != name:
                fault(path, "not what its name says")
            gone = set(event["log_checkpoint"]["newest"]) - digests
            if gone:
                fault(path, "it names events that are not here")
            keys = {event[side]["key_fingerprint"] for side in ("released_by", "received_by")} - {""}
            beside = [each for each in self.files if each.startswith(path[:-5] + "-")]
            good = set()
            for each in beside:
                if self.digest[each][:16] != each[-20:-4]:
                    fault(each, "not what its name says")
                good.add(self.signed(path, each, "sealift-custody", event["at_utc"]))
            if keys - good:
                fault(path, "a side has not signed it")
            for paper in {event[side]["paper_sha256"] for side in ("released_by", "received_by")} - {""}:
                photograph = f"shipments/{name}/photographs/{paper}"
                if keys & good and photograph not in self.files:
                    fault(photograph, "the photograph of a signature by hand, and not here")
            goes = event["event_type"] == "load" or (
                event["released_by"] != event["received_by"] and event["event_type"] not in {"seal", "discrepancy"}
            )
            proved = self.happened(event, beneath) >= released
            proved = proved and self.moved(event, beneath, released) >= serials_of(event)
            if goes and event["at_utc"] < released and not proved:
                fault(path, "handed over before it was released")
            if "unlock" in event:
                seal = self.bound(path, event["unlock"]["seal"], found.get("seal", {}), "seal")
                if seal is not None and event["unlock"]["shipment"] != found["seal"][seal]["shipment"]:
                    fault(path, "keys of another shipment than the seal's")

    def moved(self, event, events, released):
        """Serial numbers of drives that changed hands, once it was released, by what it names."""
        behind = [events[each] for each in event["log_checkpoint"]["newest"] if each in events]
        own = [each for each in behind if each["released_by"] != each["received_by"] and each["at_utc"] >= released]
        return set().union(*map(serials_of, own), *(self.moved(each, events, released) for each in behind))

    def happened(self, event, events):
        """When it happened at the earliest: what it names was there before it, by more than two clocks may differ."""
        behind = [self.happened(events[each], events) for each in event["log_checkpoint"]["newest"] if each in events]
        latest = max([event["at_utc"], *behind])
        return latest if when(latest) > when(event["at_utc"]) + SKEW else event["at_utc"]

    def receipt(self, path, record, found):
        seal = self.bound(path, record["seal"], found.get("seal", {}), "seal")
        if seal is None:
            return
        sealed = found["seal"][seal]
        groups = {group["group"]: group for group in sealed["groups"]}
        for group in record["groups"]:
            of = groups.get(group["group"], {})
            serials = [drive["serial"] for drive in of.get("drives", [])]
            if of.get("manifest") != group["manifest"] or serials != [each["serial"] for each in group["drives"]]:
                fault(path, "another group than the seal's")
        signed = [
            each for kind in ("release", "seal", "screening", "keys", "source-release") for each in found.get(kind, {})
        ]
        origin = {self.keys.get(each + end) for each in signed for end in ("", ".second.sig")}
        origin |= {self.fingerprint(each["author"]["public_key"]) for each in found.get("declaration", {}).values()}
        if when(record["at"]) + SKEW < when(sealed["sealed_at"]) or any(
            self.same(self.keys[path], each) for each in origin if each
        ):
            fault(path, "older than the seal, or by the origin itself")

    def source_release(self, path, record, found):
        seal = self.bound(path, record["seal"], found.get("seal", {}), "seal")
        if seal is not None:
            mine, later = self.revision(found, found["seal"][seal]), found["seal"].values()
            if any(self.revision(found, each) > mine and each["sealed_at"] < record["at"] for each in later):
                fault(path, "the seal that it rests on was superseded")
        if self.held(found, record["at"]):
            fault(path, "the source was freed under a legal hold")
        covered = []
        for row in record["receipts"]:
            of = self.bound(path, row["receipt"], found.get("receipt", {}), "receipt")
            if of is None:
                continue
            receipt = found["receipt"][of]
            states = {each["group"]: [d["state"] for d in each["drives"]] for each in receipt["groups"]}
            covered += row["groups"]
            if any(set(states.get(each, ["none"])) - {"intact", "rebuilt"} for each in row["groups"]):
                fault(path, "it rests on a group that was not verified")
            if receipt["at"] > record["at"] or self.same(self.keys[of], self.keys[path]):
                fault(path, "before the receipt, or by who received")
        if sorted(covered) != list(range(record["groups_total"])):
            fault(path, "not every group is covered")

    def revision(self, found, seal):
        """Of a seal: the revision of the declaration that it binds; 0 where that is not here."""
        revisions = [(path, each) for path, each in found.get("declaration", {}).items() if each]
        bound = [each for path, each in revisions if self.digest[path] == seal["declaration"]["blake3"]]
        return bound[0].get("revision", 1) if bound else 0

    def held(self, found, at):
        """Whether the newest revision that was released by then states a legal hold."""
        by = {each["declaration"]["blake3"] for each in found.get("release", {}).values() if each["released_at"] <= at}
        released = [each for path, each in found.get("declaration", {}).items() if each and self.digest[path] in by]
        newest = max(released, key=lambda each: each.get("revision", 1), default={"legal_hold": "none"})
        return newest.get("legal_hold") != "none"

    def certificate(self, path, record, found, declarations):
        if self.held(found, record["begun_at"]):
            fault(path, "erased while a legal hold was in force")
        log = path.removesuffix(".json") + ".log.jsonl"
        if log not in self.files:
            fault(log, "not here")
        else:
            self.bound(log, record["log"], [log], "log")
        if record["media"]["serial_from"] == "label" and record["validation"] != "escalate":
            fault(path, "accepted, and only a label says which drive it was")
        of = self.bound(path, record["delivery_verified"]["receipt"], found.get("receipt", {}), "receipt")
        if of is not None and found["receipt"][of]["at"] > record["begun_at"]:
            fault(path, "erased before the receipt")
        for row in record["legal_hold_checked"]["declarations"]:
            held = self.bound(path, row["declaration"], declarations, "declaration")
            if held is not None and declarations[held].get("legal_hold") != "none":
                fault(path, "erased under a legal hold")


def main(bundle, signers):
    with open(bundle, "rb") as file:
        files = unpack(file.read())
    with tempfile.TemporaryDirectory() as folder:
        for path, data in files.items():
            target = os.path.join(folder, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(data)
        reader = Reader(files, folder, os.path.abspath(signers))
        attempt("audit.json", reader.index)
        names = sorted({path.split("/")[1] for path in files if path.startswith("shipments/")})
        shipments = {name: attempt(f"shipments/{name}", reader.shipment) or {} for name in names}
        seals = {reader.digest[path] for found in shipments.values() for path in found.get("seal", {})}
        for found in shipments.values():
            for path, record in found.get("seal", {}).items():
                if "in_reply_to" in record and record["in_reply_to"]["seal"]["blake3"] not in seals:
                    fault(path, "it answers a seal that is not here")
    sys.stdout.write("".join(f"{each}\n" for each in sorted(set(faults))))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
