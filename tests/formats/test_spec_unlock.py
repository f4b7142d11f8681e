"""docs/spec/unlock.md against the code: example, tables, limits, a vector for each rule, the tools that it names."""

import re
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import pytest
import shipments
from hypothesis import given, settings
from hypothesis import strategies as st

from sealift.errors import FormatError
from sealift.formats import age, age_keys, paged, unlock
from sealift.reading import keys as reading
from sealift.trade import unlock as rules

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "spec" / "unlock.md").read_text()
VECTORS = ROOT / "tests" / "vectors" / "unlock"
NAMES = sorted(path.name for path in VECTORS.iterdir())
sys.path.insert(0, str(VECTORS.parent))

import make_sshsig  # noqa: E402
import make_unlock  # noqa: E402


def vector(name):
    text, _, data = (VECTORS / name).read_bytes().partition(b"\n\n")
    return dict(line.split(": ", 1) for line in text.decode().split("\n")), zlib.decompress(data)


def read_all(data):
    """The record of an archive, and all its keys."""

    def read_at(offset, count):
        return data[offset : offset + count]

    found = unlock.layout(read_at, len(data))
    return found.record, unlock.key_pages(found, read_at).get(0, found.record.keys.rows)


@pytest.mark.parametrize("name", NAMES)
def test_a_vector(name):
    head, data = vector(name)
    if head["kind"] == "file":
        data = age.decrypt(data, [age_keys.parse_identity(head["identity"])])
    if head["expect"] == "damaged":
        unlock.layout(lambda offset, count: data[offset : offset + count], len(data))
    if head["expect"] != "success":
        with pytest.raises(FormatError):
            read_all(data)
        return
    record, keys = read_all(data)
    assert msgspec.to_builtins(record) == make_unlock.record()
    assert keys == make_unlock.keys_of(make_unlock.ROWS)
    made = bytearray()
    layout = unlock.layout(lambda offset, count: data[offset : offset + count], len(data))
    unlock.write(record, layout.data, layout.signature, keys, made.extend)
    assert bytes(made) == data, "a writer makes the same bytes"


def test_the_vectors_are_what_the_generator_writes(tmp_path):
    make_unlock.main(str(tmp_path), lambda _: None)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in VECTORS.iterdir()}
    cells = re.findall(r"\| ((?:`[a-z_]+` ?)+)\|$", PAGE, re.MULTILINE)
    assert sorted(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == NAMES


def test_the_example_is_the_vector():
    assert f"```json\n{make_unlock.canonical(make_unlock.record()).decode()}```" in PAGE


@pytest.mark.parametrize("kind", [unlock.Unlock, unlock.UnlockGroup, unlock.KeyTable])
def test_a_table_has_the_fields_of_the_record(kind):
    section = PAGE.partition(f"\n### {kind.__name__}\n")[2].partition("\n#")[0].partition("| rule |")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [f.encode_name for f in msgspec.structs.fields(kind)]


def test_limits_and_sizes_are_those_of_the_code():
    modules = (unlock, rules, reading)
    limits = dict(re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", PAGE.partition("## Limits")[2], re.MULTILINE))
    named = {name: vars(module)[name] for module in modules for name in vars(module) if name.startswith("MAX_")}
    borrowed = {"MAX_DRIVES", "MAX_STRIPES", "MAX_STANZAS", "MAX_ARMORED"}
    assert {name: str(value) for name, value in named.items() if name not in borrowed} == limits
    assert unlock.MAX_ROWS * 16 < reading.MAX_FILE
    rows = 30 * unlock.UnlockGroup(group=0, data=8, stripes=-(-int(4.8e15) // (1 << 30)) // 30 // 8).rows
    assert f"{rows:,} rows" in PAGE
    said = int(re.search(r"a file of ([\d,]+) bytes", PAGE)[1].replace(",", ""))
    plain = paged.file_length(16, rows) + 8192
    assert abs(age.sealed_length(plain, 200) - said) < 16384


def shell(part):
    """The commands of the page's example that hold `part`."""
    return next(block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if part in block)


def test_the_example_opens_with_the_tools_that_it_names(tmp_path):
    shipments.need("age", "tar", "ssh-keygen", "b3sum", "xxd", "openssl")
    head, data = vector("file")
    (tmp_path / "run-7.keys.age").write_bytes(data)
    (tmp_path / "job.txt").write_text(head["identity"] + "\n")
    key = make_sshsig.base64.b64encode(make_sshsig.ED_KEY).decode()
    (tmp_path / "signers").write_text(f'kim@example.com namespaces="sealift-unlock" ssh-ed25519 {key}\n')
    run = ["bash", "-euc", shell("age -d").replace("/dev/shm", str(tmp_path))]
    env = {"HERE": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(run, check=False, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    verified, root, page, digest, row = done.stdout.split("\n")[:5]
    assert verified.startswith('Good "sealift-unlock" signature for kim@example.com')
    assert root.split()[0] == make_unlock.ROOT.hex()
    assert page.split()[0] == digest
    assert row == make_unlock.draw_key(2).hex()


def test_a_key_is_the_key_of_a_pack_by_openssl(tmp_path):
    shipments.need("openssl", "xxd", "grep")
    file_key = make_unlock.draw_key(2)
    (tmp_path / "keys.bin").write_bytes(make_unlock.TABLE)
    import make_age

    covered = b"age-encryption.org/v1\n" + make_age.x25519_stanza(file_key=file_key) + b"---"
    mac = make_age.hmac.digest(make_age.hkdf(file_key, b"", b"header"), covered, "sha256")
    (tmp_path / "pack").write_bytes(covered + b" " + make_age.b64(mac) + b"\n" + bytes(range(256)))
    run = ["bash", "-euc", shell("openssl")]
    env = {"PACK": str(tmp_path / "pack"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(run, check=False, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    computed, stands = done.stdout.split()
    assert computed == stands == make_age.b64(mac).decode()


GOOD = vector("archive")[1]
EXAMPLE = make_unlock.canonical(make_unlock.record())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=3))
def test_any_mutation_is_refused_or_is_no_mutation(cuts):
    data = bytearray(GOOD)
    for at, length, put in cuts:
        data[at : at + length] = put
    try:
        _, keys = read_all(bytes(data))
    except FormatError:
        return
    assert keys == make_unlock.keys_of(make_unlock.ROWS)
    if data != GOOD:  # what no digest covers is what is signed, and the signature
        found = unlock.layout(lambda offset, count: bytes(data[offset : offset + count]), len(data))
        assert (found.data, found.signature) != (EXAMPLE, make_unlock.sign(EXAMPLE))


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_a_page_that_is_read_is_found(bit):
    at = GOOD.index(b"keys.bin") + 512 + 16384 + 16 * 7
    data = GOOD[:at] + bytes([GOOD[at] ^ 1 << bit]) + GOOD[at + 1 :]
    with pytest.raises(FormatError, match="damaged"):
        read_all(data)
