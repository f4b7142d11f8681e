"""One lawful shipment from its declaration to its audit, by the commands that people type, on real filesystems.

Dana declares and packs, Sam screens, Olu looks at it again and releases, Petra holds the identity; Anna and Bo carry,
Tove is at the dock, Paz releases what goes home. A hit is decided, customs open a case, a drive comes late.
"""

import gc
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import loops
import pytest
import screening_lists

from sealift.cli import main
from sealift.formats import age_keys
from sealift.trade import receipt as receipts
from sealift.trade import sheets

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
OUT, HOME = "SL-2026-EXAMPLE", "SL-2026-ANSWER"
NAMES = {
    "dana": "sealift,sealift-declaration,sealift-keys,sealift-custody,sealift-source-release,sealift-audit",
    "sam": "sealift-screening",
    "olu": "sealift-release,sealift-screening,sealift-keys", "anna": "sealift-custody", "bo": "sealift-custody",
    "tove": "sealift,sealift-declaration,sealift-keys,sealift-custody,sealift-receipt,sealift-certificate,"
    "sealift-screening", "paz": "sealift-release,sealift-keys",
}  # fmt: skip
PEOPLE = {
    "dana": ("Dana Engineer", "Kittiwake Research"), "anna": ("Anna Gannet", "Gannet Couriers"),
    "bo": ("Bo Gannet", "Gannet Couriers"), "tove": ("Tove Dock", "Petrel Compute"),
}  # fmt: skip


class Voyage:
    """A folder with keys, a declaration, drives on loop devices, and the commands, run in this process."""

    def __init__(self, folder, made, capsys, monkeypatch):
        self.folder, self.made, self.capsys = folder, made, capsys
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", str(folder / "signers"))
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "home"))
        lines = []
        for name, namespaces in NAMES.items():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", f"{name}_key"], check=True)
            lines.append(f'{name}@example.org namespaces="{namespaces}" {self.public(name)}\n')
        Path("signers").write_text("".join(lines))
        identity, self.recipient = age_keys.generate_identity()
        Path("identity.txt").write_text(identity + "\n")
        self.devices, self.images = {}, {}

    def public(self, name):
        return Path(f"{name}_key.pub").read_text().rpartition(" ")[0].strip()

    def run(self, *words, code=0):
        """stdout and stderr of a command that must end with `code`."""
        self.capsys.readouterr()
        ended = main.run([str(word) for word in words])
        said = self.capsys.readouterr()
        assert ended == code, (words, ended, said.out, said.err)
        assert "Traceback" not in said.err
        return said

    def drive(self, serial):
        """Mount a new drive of this name; where."""
        self.images[serial], self.devices[serial] = self.made.drive(f"{serial}.img", "ext4")
        return self.made.mount(self.devices[serial], serial)

    def declare(self):
        text = (ROOT / "docs/examples/declaration.toml").read_text()
        text = text.replace("1_000_000_000", str(64 * loops.MIB)).replace(
            "@DANA_KEY@", Path("dana_key.pub").read_text().strip()
        )
        today = subprocess.run(["date", "-u", "+%F"], check=True, capture_output=True, text=True).stdout.strip()
        text = text.replace("@TODAY@", today).replace("@RECIPIENT@", self.recipient)
        text += f'\n[return]\nrecipients = ["{self.recipient}"]\nsigners = ["tove@example.org {self.public("tove")}"]\n'
        Path("declaration.toml").write_text(text)

    def clear(self, file, by, officer):
        """Answer the samples of a declaration; nobody else can open the drives, which somebody accepts."""
        samples = f"samples-{Path(file).stem}"
        self.run("keys", "challenge", file, "--to", samples, *by)
        (sample,) = Path(samples).glob("*.sample.age")
        self.run("keys", "answer", sample, "--identity", "identity.txt", "--out", f"{samples}/answer.json")
        answered = ("keys", "check", file, "--answer", f"{samples}/answer.json")
        self.run(*answered, "--waive-second", "in two safes", *officer)

    def event(self, log, declaration, kind, one, other, serials, seals, *, code=0, sign=None, **fields):
        """Record an event of custody; the text of its paper form."""
        words = {"local_timezone": "UTC", "place": "gate", "reason": "as declared", **fields}
        text = ['type = "sealift-custody-form"', "version = 1", f'consignment_id = "{declaration[1]}"']
        text += [f'event_type = "{kind}"', *(f"{name} = {json.dumps(value)}" for name, value in words.items())]
        for side, name in (("released_by", one), ("received_by", other)):
            who, org = PEOPLE[name]
            text += [f"[{side}]", f'name = "{who}"', f'org = "{org}"', 'id_kind = "passport"']
            text += [f'key = "{self.public(name)}"']
        before, after = seals
        checked = "intact" if before else "no_seal"
        text += ["[[items]]", f"serials = {json.dumps(serials)}", f'seal_before = "{before}"']
        text += [f'seal_after = "{after}"', 'seal_class = "H"', f'seal_checked = "{checked}"', 'condition = "good"']
        Path("event.toml").write_text("\n".join(text) + "\n")
        keys = [f"--sign-with={name}_key" for name in dict.fromkeys(sign or (one, other))]
        more = ["--as-found"] if kind == "customs_inspection" else []
        said = self.run(
            "handover", log, "--event", "event.toml", "--declaration", declaration[0], *keys, *more, code=code
        )
        return said.out


@pytest.fixture
def voyage(tmp_path, capsys, monkeypatch):
    with loops.loops(tmp_path) as made:
        yield Voyage(tmp_path, made, capsys, monkeypatch)


DANA = ("--sign-with", "dana_key", "--by", "Dana Engineer")
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"
SAM = ("--sign-with", "sam_key", "--by", "Sam Screener")
OLU = ("--sign-with", "olu_key", "--by", "Olu Officer")
PAZ = ("--sign-with", "paz_key", "--by", "Paz Officer")
TOVE = ("--sign-with", "tove_key", "--by", "Tove Dock")
AT_THE_DOCK = (*TOVE, "--organisation", "Petrel Compute", "--contact", "dock@petrel.example")


def released(voyage, file, officer, reference, code=0):
    words = (
        "--list",
        "csl.csv",
        "--officer",
        officer,
        "--reason",
        "complete, no open question",
        "--reference",
        reference,
    )
    key = f"{officer.split()[0].lower()}_key"
    return voyage.run("release", file, "--sign-with", key, *words, code=code)


def decided(voyage, file, by, second, name):
    """The hit is another firm: one person says why, another signs that too."""
    sheet = Path(file.replace(".toml", ".screening.toml"))
    text = sheet.read_text().replace('"potential"\n', '"false_positive"\n')
    text = text.replace('rationale = ""', 'rationale = "another firm of that name"')
    text = text.replace("differentiators = []", 'differentiators = ["register number"]')
    sheet.write_text(text.replace('second_reviewer = ""', f'second_reviewer = "{name}"'))
    voyage.run("screen", file, "--dispose", sheet, *by, code=5)
    voyage.run("screen", file, "--second", "--sign-with", f"{second}_key", "--by", name)


def screened_and_released(voyage):
    """One potential match: no release before two people have decided it, and none by the author."""
    people = [screening_lists.One("1", ("Petrel Compute",), "organisation", "PT")]
    Path("csl.csv").write_bytes(screening_lists.csl_csv(people))
    voyage.run("screen", "declaration.toml", "--list", "csl.csv", "--fetched", TODAY, *SAM, code=5)
    held = voyage.run("release", "--check", "declaration.toml", "--list", "csl.csv", "--json", code=5)
    assert json.loads(held.out)["held"] == ["author", "screening", "keys"]
    assert "may be 'Petrel Compute'" in held.err
    assert "the gate is closed" in released(voyage, "declaration.toml", "Olu Officer", "TC-1", code=5).err
    assert not Path("declaration.release.json").exists()

    decided(voyage, "declaration.toml", SAM, "olu", "Olu Officer")
    assert "keys: nobody was sent a sample" in released(voyage, "declaration.toml", "Olu Officer", "TC-1", code=5).err
    voyage.clear("declaration.toml", DANA, OLU)
    voyage.run("declare", "--check", "declaration.toml", "--sign-with", "olu_key", code=5)
    voyage.run("declare", "--check", "declaration.toml", "--sign-with", "dana_key")

    voyage.run("documents", "declaration.toml", "--to", "draft")
    author = voyage.run(
        "release", "declaration.toml", "--sign-with", "dana_key", "--officer", "Somebody Else", "--reason", "r",
        "--reference", "x", "--list", "csl.csv", code=5,
    )  # fmt: skip
    assert "the author" in author.err
    assert sheets.DRAFT in voyage.run("declare", "--sheet", "Bo", "declaration.toml").out
    released(voyage, "declaration.toml", "Olu Officer", "TC-2026-118")
    assert sheets.DRAFT not in voyage.run("declare", "--sheet", "Bo", "declaration.toml").out


def packed_and_sealed(voyage, mounts):
    corpus = Path("corpus")
    corpus.mkdir()
    for number in range(40):
        (corpus / f"{number:03d}.txt").write_text(f"file {number}\n" * 2000)
    (corpus / "noise.raw").write_bytes(os.urandom(5_000_000))
    carried = {"Anna": mounts[:2], "Bo": mounts[2:]}
    words = [f"--carrier={name}={','.join(map(str, where))}" for name, where in carried.items()]
    words += [f"--serial={mount}={mount.name}" for mount in mounts]
    voyage.run(
        "pack", "corpus", "--state", "state", "--declaration", "declaration.toml", "--parity", "2", "--pack-size",
        "1MiB", *words, "--sign-with", "dana_key",
    )  # fmt: skip
    voyage.run(
        "seal", "--state", "state", "--declaration", "declaration.toml", "--sign-with", "dana_key", "--out", "sent",
        *mounts,
    )  # fmt: skip
    (seal,) = Path("sent").glob("*.seal")
    return seal


def carried(voyage, log="custody"):
    """Two hand-overs a carrier; customs open Anna's case; one of Bo's drives does not come."""
    ship = ("declaration.toml", OUT)
    anna, bo = ["EXAMPLE-1", "EXAMPLE-2"], ["EXAMPLE-3", "EXAMPLE-4"]
    for serials, who, number in ((anna, "anna", "H-1"), (bo, "bo", "H-2")):
        voyage.event(log, ship, "seal", "dana", "dana", serials, ("", number))
        form = voyage.event(log, ship, "handover", "dana", who, serials, (number, number))
        assert "SEALIFT-CUSTODY:1:" in form
    opened = voyage.event(
        log, ship, "customs_inspection", "anna", "anna", anna, ("H-1", "C-9"), officer_ref="PT-2026-77",
        inspection_opened=True, reason="opened by customs",
    )  # fmt: skip
    case = re.search(r"([0-9A-F]{64})", opened)[1].lower()
    voyage.event(
        log, ship, "handover", "anna", "tove", anna, ("C-9", "C-9"), resolves=[case], reason="seen with Anna: whole"
    )  # fmt: skip
    voyage.event(log, ship, "arrive", "tove", "tove", anna, ("C-9", "C-9"))
    voyage.event(log, ship, "handover", "bo", "tove", bo[:1], ("H-2", "H-2"))
    voyage.event(log, ship, "arrive", "tove", "tove", bo[:1], ("H-2", "H-2"))
    return log


def received(voyage, mounts, seal):
    """Three drives first: a discrepancy, a partial receipt, and the source is kept; then the fourth."""
    part = voyage.run("verify", *mounts[:3], "--seal", seal, "--json", code=6)
    Path("three.json").write_text(part.out)
    voyage.run("receipt", "three.json", "--seal", seal, *AT_THE_DOCK, code=6)
    form = Path(f"{OUT}.discrepancy.toml")
    text = form.read_text()
    assert "EXAMPLE-4" in text
    form.write_text(re.sub(r'^place = ""', 'place = "dock 2"', text, flags=re.MULTILINE))
    voyage.run("handover", "custody", "--event", form, "--declaration", "declaration.toml", "--sign-with", "tove_key")
    held = voyage.run("custody", "custody", "--declaration", "declaration.toml", "--json", code=3)
    discrepancy = next(
        each for each in json.loads(held.out)["findings"] if each["kind"] == "discrepancy" and not each["settled_by"]
    )
    refused = voyage.run("source-release", f"{OUT}.receipt.json", "--seal", seal, code=6)
    assert "NOT to be freed" in refused.err + refused.out
    for name in mounts[:1]:
        voyage.run("erase", voyage.images[name.name], *erase_words(voyage, [name.name]), code=5)

    ship = ("declaration.toml", OUT)
    voyage.event("custody", ship, "handover", "bo", "tove", ["EXAMPLE-4"], ("H-2", "H-2"), reason="came a day later")
    voyage.event(
        "custody", ship, "arrive", "tove", "dana", ["EXAMPLE-4"], ("H-2", "H-2"), resolves=[discrepancy["events"][0]],
        reason="here now", sign=("tove", "dana"),
    )  # fmt: skip
    everything = voyage.run("verify", *mounts, "--seal", seal, "--final", "--json")
    Path("four.json").write_text(everything.out)
    voyage.run("receipt", "four.json", "--seal", seal, *AT_THE_DOCK)
    record = receipts.decode(Path(f"{OUT}.receipt.json").read_bytes())
    assert receipts.is_whole(record)
    assert Path(f"{OUT}.receipt.1.json").exists(), "the partial one is kept"
    free = ("--organisation", "Kittiwake Research", "--contact", "dana@kittiwake.example")
    assert "may be freed" in voyage.run("source-release", f"{OUT}.receipt.json", "--seal", seal, *DANA, *free).out


def answered(voyage, seal):
    """Weights go home on two drives, declared, screened, released and carried like anything else."""
    text = Path("declaration.toml").read_text()
    text = text.partition("\n[return]")[0]
    text = re.sub(r"\[\[carriers\]\].*?(?=\[\[goods\]\])", "", text, flags=re.DOTALL)
    text = re.sub(r"\[\[drives\]\].*?(?=\[\[answers\]\])", "", text, flags=re.DOTALL)
    text = text.replace("[shipper]", "[there]").replace("[consignee]", "[shipper]").replace("[there]", "[consignee]")
    text = text.replace(OUT, HOME).replace('leg = "outbound"', f'leg = "return"\nin_reply_to = "{OUT}"')
    text = text.replace('Dana Engineer"\nemail', 'Tove Dock"\nemail').replace(
        'dana@kittiwake.example"\npublic', 'tove@petrel.example"\npublic'
    )
    text = text.replace(Path("dana_key.pub").read_text().strip(), Path("tove_key.pub").read_text().strip())
    text += (
        '\n[[carriers]]\nname = "Anna"\nlegal_name = "Anna Gannet"\ncontact = "anna@gannet.example"\ncountry = "NL"\n'
    )
    for serial in ("HOME-1", "HOME-2"):
        text += f'\n[[drives]]\nserial = "{serial}"\ncarrier = "Anna"\ngoods = "folder"\ncapacity_bytes = 1_000_000\n'
        text += 'make = "Example"\nmodel = "Folder"\n'
    Path("home.toml").write_text(text)
    voyage.run("declare", "--check", "home.toml", "--sign-with", "tove_key")
    voyage.run("screen", "home.toml", "--list", "csl.csv", "--fetched", TODAY, *TOVE, code=5)
    decided(voyage, "home.toml", TOVE, "sam", "Sam Screener")
    voyage.clear("home.toml", TOVE, PAZ)
    released(voyage, "home.toml", "Paz Officer", "PT-1")

    weights = Path("checkpoint")
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(os.urandom(200_000))
    mounts = [voyage.drive(serial) for serial in ("HOME-1", "HOME-2")]
    to = [f"--to={mount}" for mount in mounts] + [f"--serial={mount}={mount.name}" for mount in mounts]
    voyage.run(
        "pack", "checkpoint", "--leg", "return", "--in-reply-to", seal, *to, "--parity", "1", "--pack-size", "1MiB",
        "--declaration", "home.toml", "--state", "homestate", "--sign-with", "tove_key", "--accept-carrier-risk",
    )  # fmt: skip
    voyage.run(
        "seal", "--state", "homestate", "--declaration", "home.toml", "--sign-with", "tove_key", "--out", "homesent",
        *mounts,
    )  # fmt: skip
    ship, serials = ("home.toml", HOME), ["HOME-1", "HOME-2"]
    voyage.event("homecustody", ship, "seal", "tove", "tove", serials, ("", "R-1"))
    voyage.event("homecustody", ship, "handover", "tove", "anna", serials, ("R-1", "R-1"))
    voyage.event("homecustody", ship, "handover", "anna", "dana", serials, ("R-1", "R-1"))
    voyage.event("homecustody", ship, "arrive", "dana", "dana", serials, ("R-1", "R-1"))
    voyage.run("custody", "homecustody", "--declaration", "home.toml", "--final")
    (home,) = Path("homesent").glob("*.seal")
    voyage.run(
        "unpack", *mounts, "--to", "weights", "--identity", "identity.txt", "--seal", home, "--in-reply-to", seal
    )
    assert Path("weights/model.safetensors").read_bytes() == (weights / "model.safetensors").read_bytes()
    return home


def erase_words(voyage, serials):
    words = ["--receipt", f"{OUT}.receipt.json", "--declaration", "declaration.toml", "--method", "clear"]
    for serial in serials:
        words += [f"--serial={voyage.images[serial]}={serial}", f"--yes={voyage.images[serial]}"]
    words += ["--key", "tove_key", "--certificates", "erased", "--by", "Tove Dock", "--title", "dock technician"]
    return [*words, "--place", "Nowhere", "--contact", "dock@petrel.example"]


def erased(voyage, mounts):
    gc.collect()  # drives that nobody uses any more hold their mounts open, in one process
    for mount in mounts:
        subprocess.run(["umount", mount], check=True)
    serials = [mount.name for mount in mounts]
    voyage.run("erase", *(voyage.images[serial] for serial in serials), *erase_words(voyage, serials))
    assert len(list(Path("erased").glob("*.certificate.json"))) == len(serials)
    for serial in serials:
        assert Path(voyage.images[serial]).read_bytes().strip(b"\0") == b""


PAPERS = {
    "invoice": 1, "packing-list": 1, "hand-carry": 2, "end-use": 1, "screening": 1, "red-flags": 1, "custody": 12,
    "delivery": 4, "sanitization": 4,
}  # fmt: skip


def audited(voyage, seals):
    """Papers without a draft, and one bundle of both legs; read by a program that shares no code with the writer."""
    voyage.run(
        "documents", "declaration.toml", "--to", "papers", "--seal", seals[0], "--custody", "custody", "--receipt",
        f"{OUT}.receipt.json", *(f"--certificate={each}" for each in sorted(Path("erased").glob("*.certificate.json"))),
    )  # fmt: skip
    names = {each.name for each in Path("papers").iterdir()}
    ends = [name.removeprefix(f"{OUT}-").removeprefix(f"{OUT}.") for name in names]
    assert len(ends) == len(set(ends))
    for kind, count in PAPERS.items():
        assert sum(kind in name for name in ends) == count, (kind, sorted(ends))
    voyage.run(
        "audit", "declaration.toml", "home.toml", *seals, "custody", "homecustody", f"{OUT}.receipt.json",
        f"{OUT}.receipt.1.json", f"{OUT}.source-release.json", "erased", "papers", "state", "homestate", "--to",
        "bundle.tar", *("--sign-with", "dana_key"),
    )  # fmt: skip
    said = json.loads(voyage.run("audit", "--verify", "bundle.tar", "--json").out)
    assert said["whole"]
    assert "SL-2026-EXAMPLE: erased: 4 of 4 drives, each after the receipt that permitted it" in said["holds"]
    assert "SL-2026-ANSWER answers SL-2026-EXAMPLE" in said["holds"]
    assert [each["state"] for each in said["findings"]] == ["pending"], "of the leg home nobody has signed a receipt"
    reader = [sys.executable, "-I", str(ROOT / "tests/interop/audit_reader.py")]
    done = subprocess.run([*reader, "bundle.tar", "signers"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    data = bytearray(Path("bundle.tar").read_bytes())
    data[data.index(b"another firm of that name")] ^= 1
    Path("altered.tar").write_bytes(data)
    for command in (
        [*reader, "altered.tar", "signers"],
        [sys.executable, "-m", "sealift", "audit", "--verify", "altered.tar"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in {1, 5}
        assert re.search(r"screening\.\d+\.json", done.stdout + done.stderr)


def test_a_lawful_shipment_from_declaration_to_audit(voyage):
    voyage.declare()
    assert "complete" in voyage.run("declare", "--check", "declaration.toml").err
    screened_and_released(voyage)
    mounts = [voyage.drive(f"EXAMPLE-{number}") for number in range(1, 5)]
    seal = packed_and_sealed(voyage, mounts)
    carried(voyage)
    received(voyage, mounts, seal)
    home = answered(voyage, seal)
    erased(voyage, mounts)
    audited(voyage, [seal, home])
