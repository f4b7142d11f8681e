"""docs/spec/{drive,manifest,seal}.md against the code: examples, tables, limits, and a vector for every failure."""

from __future__ import annotations

import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import msgspec
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.drives import base
from sealift.errors import FormatError
from sealift.formats import canonical, paged
from sealift.formats import manifest as mf
from sealift.formats import seal as seals

ROOT = pathlib.Path(__file__).parents[2]
DRIVE, MANIFEST, SEAL = ((ROOT / "docs" / "spec" / f"{name}.md").read_text() for name in ("drive", "manifest", "seal"))
ALL = DRIVE + MANIFEST + SEAL
FLEET = fleets.make(pathlib.Path("/nowhere"), seed=0, geometry=((2, 1),), lengths=[[300, 200], [70, 0]], on_disk=False)
GROUP = FLEET.groups[0]
FILES = GROUP.files[0]
GOOD = GROUP.manifest_bytes
SEAL_JSON = FLEET.seal_files["seal/seal.json"]


def section(text, heading):
    return text.partition(f"\n### {heading}\n")[2].partition("\n#")[0]


def rows(text):
    return [(int(a), int(b)) for a, b in re.findall(r"^\| (\d+) \| (\d+) \|", text, re.MULTILINE)]


# Examples


def test_the_examples_are_what_the_code_writes():
    for text, data in ((MANIFEST, GOOD), (DRIVE, FILES[mf.CARD]), (SEAL, SEAL_JSON)):
        assert f"```json\n{data.decode()}```" in text
    assert f"```\n{FILES[mf.PACKS][:32].hex()}\n```" in DRIVE
    assert f"```\n{FILES[mf.PACKS][paged.PAGE : paged.PAGE + mf.PACK.size].hex()}\n```" in DRIVE


def test_the_tree_is_a_drive():
    listed = set(re.findall(r"^  (\S+)$", DRIVE.partition("```\nsealift/\n")[2].partition("```")[0], re.MULTILINE))
    assert listed == set(FILES) | set(mf.SEAL_FILES)


def test_sums_are_as_b3sum_reads_them(tmp_path):
    lines = FILES[mf.SUMS].decode().splitlines()
    assert [line.partition("  ")[2] for line in lines] == [name for name in FILES if name.startswith("packs/")]
    if shutil.which("b3sum"):
        fleet = fleets.make(tmp_path, seed=0, lengths=[[300, 200], [70, 0]])
        where = fleet.path(0, 0, "")
        assert subprocess.run(["b3sum", "--check", "B3SUMS"], cwd=where, check=False).returncode == 0


# Tables and structs


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (MANIFEST, kind)
        for kind in (
            mf.Manifest,
            mf.DeclarationRef,
            mf.InReplyTo,
            mf.Geometry,
            mf.DriveRow,
            mf.FileRef,
            mf.TreeRef,
            mf.IndexRef,
            mf.Totals,
        )
    ]
    + [(DRIVE, mf.DriveCard)]
    + [(SEAL, kind) for kind in (seals.Seal, seals.ReturnLeg, seals.ReturnSigner, seals.SealGroup, seals.SealDrive)],
)
def test_tables_of_fields_are_the_records(text, kind):
    fields = re.findall(r"^\| `(\w+)` \|", section(text, kind.__name__), re.MULTILINE)
    assert fields == [field.encode_name for field in msgspec.structs.fields(kind)]


def sizes(layout):
    """Sizes of the parts of a struct's format, padding too."""
    code = {"s": 1, "x": 1, "I": 4, "Q": 8}
    out = []
    for count, letter in re.findall(r"(\d*)([sxIQ])", layout):
        number = int(count or 1)
        out += [number] if letter in "sx" else [code[letter]] * number
    return out


@pytest.mark.parametrize(("heading", "layout"), [("HEADER", paged.HEADER), ("PACK", mf.PACK)])
def test_tables_of_offsets_are_the_structs(heading, layout):
    table = rows(section(DRIVE, heading))
    assert layout.format.startswith("<")
    assert [size for _, size in table] == sizes(layout.format)
    assert [at for at, _ in table] == [sum(size for _, size in table[:i]) for i in range(len(table))]
    assert sum(table[-1]) == layout.size


def test_the_table_of_pages():
    table = rows(DRIVE.partition("## packs.bin and blocks.bin")[2].partition("### HEADER")[0])
    assert table == [(0, paged.HEADER.size), (paged.HEADER.size, paged.PAGE - paged.HEADER.size)]
    assert FILES[mf.PACKS][paged.HEADER.size : paged.PAGE] == bytes(paged.PAGE - paged.HEADER.size)
    assert len(FILES[mf.PACKS]) == paged.file_length(mf.PACK.size, 6) == 3 * paged.PAGE


def test_the_table_of_the_bundle():
    table = rows(SEAL.partition("## The file for the network")[2])
    assert [at for at, _ in table] == [sum(size for _, size in table[:i]) for i in range(len(table))]
    assert sum(table[-1]) == 512
    header = FLEET.bundle[:512]
    cut = {at: header[at : at + size] for at, size in table}
    assert cut[0] == b"seal/seal.json".ljust(100, b"\0")
    assert (cut[100], cut[108], cut[136], cut[156], cut[257]) == (
        b"0000644\0",
        b"0000000\0",
        b"00000000000\0",
        b"0",
        b"ustar\x0000",
    )
    assert int(cut[124][:11], 8) == len(SEAL_JSON)
    assert int(cut[148][:6], 8) == sum(header) - sum(cut[148]) + 8 * 32
    assert not any(cut[157] + cut[265])


def test_tar_opens_the_bundle():
    with tarfile.open(fileobj=io.BytesIO(FLEET.bundle)) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}
    assert files == FLEET.seal_files
    assert list(files) == re.findall(r"^\| `(seal/\S+)` \|", SEAL, re.MULTILINE)


def test_limits_are_those_of_the_code():
    limits = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", ALL, re.MULTILINE)
    assert {"MAX_MANIFEST", "MAX_CARD", "MAX_SEAL", "MAX_BUNDLE", "MAX_PACK", "PAGE", "MAX_DEPTH"} <= {
        n for n, _ in limits
    }
    for name, value in limits:
        found = [getattr(module, name) for module in (mf, paged, seals, base) if hasattr(module, name)]
        assert found
        assert set(found) == {int(value)}, name


def test_the_longest_manifest_is_within_its_limit():
    long = "\u00e9" * 256
    whole = "f" * 64
    ref = mf.FileRef(bytes=1 << 62, blake3=whole)
    rows = [
        mf.DriveRow(
            slot=slot, id=f"g999999s{slot}", number=10_000, serial=long, label=long, carrier=long, open_me=ref, sums=ref
        )
        for slot in range(mf.MAX_DRIVES)
    ]
    assert len(mf.encode_manifest(msgspec.structs.replace(GROUP.manifest, drives=rows))) < mf.MAX_MANIFEST


# A vector for every failure


def changed(change, data=GOOD):
    """The record as JSON, changed, in canonical form again."""
    tree = json.loads(data)
    change(tree)
    return canonical_json(tree)


def canonical_json(tree):
    return (json.dumps(tree, indent=2, ensure_ascii=False) + "\n").encode()


def put(*path, value):
    def change(tree):
        for step in path[:-1]:
            tree = tree[step]
        tree[path[-1]] = value

    return change


def swap(*path):
    def change(tree):
        for step in path:
            tree = tree[step]
        tree[0], tree[1] = tree[1], tree[0]

    return change


def fewer(*path):
    def change(tree):
        for step in path:
            tree = tree[step]
        tree.pop()

    return change


def same_as_first(what, *path):
    def change(tree):
        for step in path:
            tree = tree[step]
        tree[1][what] = tree[0][what]

    return change


def reordered(tree):
    tree["seed"] = tree.pop("seed")


def ordered(tree, after, **fields):
    """Fields put where the page has them: behind `after`."""
    items = list(tree.items())
    place = [name for name, _ in items].index(after) + 1
    tree.clear()
    tree.update(items[:place] + list(fields.items()) + items[place:])


def answered(shipment):
    return {"shipment": shipment, "consignment_id": "SL-1", "seal": {"bytes": 1, "blake3": "a" * 64}}


def home(recipients=1, signers=1):
    signer = {"principal": "trainer", "key": "ssh-ed25519 AAAA"}
    return {"recipients": ["age1"] * recipients, "signers": [signer] * signers}


def replying(**fields):
    return changed(lambda tree: ordered(tree, "release_signature", **fields), SEAL_JSON)


MANIFESTS = {
    "not_json": b"manifest\n",
    "cut_short": GOOD[:-3],
    "unknown_key": changed(put("also", value=1)),
    "missing_key": changed(lambda tree: tree.pop("seed")),
    "duplicate_key": GOOD.replace(b'  "seed": 0,\n', b'  "seed": 0,\n  "seed": 0,\n'),
    "keys_swapped": changed(reordered),
    "no_final_line_feed": GOOD[:-1],
    "two_line_feeds": GOOD + b"\n",
    "compact": json.dumps(json.loads(GOOD)).encode() + b"\n",
    "escaped": GOOD.replace(b"north", b"n\\u006frth", 1),
    "byte_order_mark": b"\xef\xbb\xbf" + GOOD,
    "text_for_number": changed(put("seed", value="0")),
    "negative": changed(put("seed", value=-1)),
    "fraction": changed(put("seed", value=0.5)),
    "upper_case_digest": changed(put("scan", value="A" * 64)),
    "control_character": changed(put("drives", 0, "label", value="a\u0007b")),
    "another_type": changed(put("type", value="sealift-seal")),
    "another_version": changed(put("version", value=2)),
    "too_long": GOOD + bytes(mf.MAX_MANIFEST),
    "too_many_drives": changed(put("geometry", "parity", value=254)),
    "drive_too_few": changed(fewer("drives")),
    "slots_swapped": changed(swap("drives")),
    "same_number": changed(same_as_first("number", "drives")),
    "same_serial": changed(same_as_first("serial", "drives")),
    "id_of_another_group": changed(put("drives", 0, "id", value="g1s0")),
    "number_beyond": changed(put("drives", 0, "number", value=4)),
    "group_beyond": changed(put("group", value=1)),
    "answers_itself": changed(
        lambda tree: ordered(tree, "declaration", in_reply_to=answered(FLEET.shipment)),
    ),
    "files_end_beyond": changed(put("geometry", "files_end", value=3)),
    "packs_too_few": changed(put("packs", "records", value=5)),
    "tree_length": changed(put("blocks", "bytes", value=49153)),
    "tree_records_beyond": changed(put("blocks", "records", value=1 << 61)),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_that_are_refused(name):
    with pytest.raises(FormatError):
        mf.decode_manifest(MANIFESTS[name])


def test_the_manifest_that_is_not():
    assert changed(lambda _tree: None) == GOOD
    assert mf.encode_manifest(mf.decode_manifest(GOOD)) == GOOD


BUNDLE = FLEET.bundle
TWO = canonical.encode(
    msgspec.structs.replace(
        seals.decode_seal(SEAL_JSON),
        groups=[
            seals.decode_seal(SEAL_JSON).groups[0],
            msgspec.structs.replace(
                seals.decode_seal(SEAL_JSON).groups[0],
                group=1,
                drives=[
                    seals.SealDrive(id=f"g1s{slot}", number=4 + slot, serial=f"other{slot}", label="x", carrier="")
                    for slot in range(3)
                ],
            ),
        ],
    )
)
SEALS = {
    "groups_swapped": changed(swap("groups"), TWO),
    "seal_drive_too_few": changed(fewer("groups", 0, "drives"), SEAL_JSON),
    "seal_same_id": changed(same_as_first("id", "groups", 0, "drives"), SEAL_JSON),
    "seal_same_number": changed(same_as_first("number", "groups", 0, "drives"), SEAL_JSON),
    "seal_same_serial": changed(same_as_first("serial", "groups", 0, "drives"), SEAL_JSON),
    "seal_return_and_reply": replying(**{"return": home()}, in_reply_to=answered("f" * 16)),
    "seal_answers_itself": replying(in_reply_to=answered(FLEET.shipment)),
    "seal_no_recipient": replying(**{"return": home(recipients=0)}),
    "seal_no_signer": replying(**{"return": home(signers=0)}),
    "seal_many_signers": replying(**{"return": home(signers=seals.MAX_RETURN + 1)}),
    "seal_first_sealed_later": changed(
        lambda tree: ordered(tree["groups"][0], "manifest", first_sealed_at=tree["sealed_at"]), SEAL_JSON
    ),
    "seal_compact": json.dumps(json.loads(SEAL_JSON)).encode() + b"\n",
}
BUNDLES = {
    "bundle_cut": BUNDLE[:-512],
    "bundle_longer": BUNDLE + bytes(512),
    "bundle_mode": BUNDLE.replace(b"0000644", b"0000755", 1),
    "bundle_order": BUNDLE[512 + -(-len(SEAL_JSON) // 512) * 512 :],
    "bundle_length": BUNDLE[:124] + b"77777777777" + BUNDLE[135:],
}


@pytest.mark.parametrize("name", SEALS)
def test_seals_that_are_refused(name):
    assert seals.decode_seal(TWO)
    with pytest.raises(FormatError):
        seals.decode_seal(SEALS[name])


def test_what_they_have_beside_what_is_refused_is_taken():
    reply = answered("f" * 16)
    assert mf.decode_manifest(changed(lambda tree: ordered(tree, "declaration", in_reply_to=reply))).in_reply_to
    assert seals.decode_seal(replying(in_reply_to=reply)).in_reply_to.shipment == "f" * 16
    assert len(seals.decode_seal(replying(**{"return": home(signers=seals.MAX_RETURN)})).return_.signers) == 20


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles_that_are_refused(name):
    assert seals.decode_bundle(BUNDLE) == FLEET.seal_files
    with pytest.raises(FormatError):
        seals.decode_bundle(BUNDLES[name])


def flipped(at):
    data = bytearray(FILES[mf.PACKS])
    data[at] ^= 1
    return bytes(data)


def opened(data, **changes):
    ref = GROUP.manifest.packs
    values = {"magic": mf.PACKS_MAGIC, "record": mf.PACK.size, "count": ref.records, "root": bytes.fromhex(ref.root)}
    return paged.PagedFile(lambda at, size: data[at : at + size], **(values | changes), name="packs.bin")


PAGES = {
    "page_header": opened(flipped(20)),
    "page_padding": opened(flipped(paged.PAGE + 6 * mf.PACK.size + 9)),
    "page_record": opened(flipped(paged.PAGE + 3)),
    "page_digest": opened(flipped(2 * paged.PAGE + 3)),
    "page_top": opened(flipped(3 * paged.PAGE - 1)),
    "page_cut": opened(FILES[mf.PACKS][:-1]),
    "page_magic": opened(FILES[mf.PACKS], magic=mf.BLOCKS_MAGIC),
    "page_record_size": opened(FILES[mf.PACKS], record=40, count=12),
    "page_count": opened(FILES[mf.PACKS], count=5),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_that_are_refused(name):
    assert list(opened(FILES[mf.PACKS]).damaged_pages()) == []
    assert list(PAGES[name].damaged_pages())
    with pytest.raises(FormatError):
        (PAGES[name].check_header(), PAGES[name].get(0, PAGES[name].count))


def test_a_pack_that_is_too_long_is_refused():
    record = mf.PACK.pack(mf.MAX_PACK + 1, 0, bytes(32), bytes(32))
    out = bytearray()
    root = paged.write(mf.PACKS_MAGIC, mf.PACK.size, 1, [record], out.extend)
    file = opened(bytes(out), count=1, root=root)
    with pytest.raises(FormatError, match="at most"):
        mf.pack_at(file, 0, 0, 1)


def test_every_vector_stands_beside_a_rule_and_every_one_named_exists():
    vectors = {*MANIFESTS, *SEALS, *BUNDLES, *PAGES, "pack_too_long"}
    named = set()
    for text in (DRIVE, MANIFEST, SEAL):
        for cell in re.findall(r"\| ((?:`[a-z0-9_]+` ?)+)\|$", text, re.MULTILINE):
            named |= set(re.findall(r"`([a-z_]{2,})`", cell))
        named |= {word for word in re.findall(r"`((?:bundle|pack)_[a-z_]+)`", text) if word in vectors}
    assert named == vectors


# Places of packs


@pytest.mark.parametrize("n", [1, 3, 8])
def test_roles_turn(n):
    for stripe in range(20):
        assert sorted(mf.slot_of(stripe, role, n) for role in range(n)) == list(range(n))
        for role in range(n):
            assert mf.slot_of(stripe, role, n) == (role + stripe) % n
            assert mf.role_of(stripe, mf.slot_of(stripe, role, n), n) == role
