"""What lsblk, blkid and the kernel print becomes records, or an error of ours, whatever the bytes are."""

import contextlib
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift.errors import FormatError
from sealift.formats import block_tools as tools

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "drives"
LSBLK = {path.stem: path.read_bytes() for path in sorted(VECTORS.glob("*.lsblk"))}


def row(**more):
    return {"kname": "sda", "maj:min": "8:0", "type": "disk", "size": 5, **more}


def lsblk(*rows):
    return tools.parse_lsblk(json.dumps({"blockdevices": list(rows)}).encode())


def test_a_server_of_every_kind():
    found = tools.parse_lsblk(LSBLK["server"])
    assert list(found)[:3] == ["sda", "sdb", "sdc"]
    disk = found["sda"]
    assert (disk.path, disk.number, disk.kind, disk.size) == ("/dev/sda", (8, 0), "disk", 22000969973760)
    assert (disk.model, disk.serial, disk.vendor, disk.transport) == ("WDC WUH722222ALE6L4", "2GG00001", "ATA", "sata")
    assert disk.rotational
    assert not disk.removable
    assert found["sdc2"].above == found["sdd1"].above == ("md0",)
    assert found["md0"].above == ("dm-1",)
    assert found["dm-1"].path == "/dev/mapper/secret"
    assert found["sr0"].removable


def test_strings_of_old_versions_are_the_same_numbers():
    found = tools.parse_lsblk(LSBLK["old"])
    assert (found["sda"].size, found["sda"].rotational, found["sda"].read_only) == (500107862016, True, False)
    assert found["sda1"].path == "/dev/sda1"


def test_a_device_on_two_others_is_there_once():
    found = tools.parse_lsblk(LSBLK["multipath"])
    assert list(found) == ["loop0", "sda", "dm-0", "sdb", "sdc"]
    assert found["sda"].above == found["sdb"].above == ("dm-0",)


@pytest.mark.parametrize(
    "rows",
    [
        [{"kname": "../etc", "maj:min": "1:1"}],
        [{"kname": "..", "maj:min": "1:1"}],
        [row(**{"maj:min": "8"})],
        [row(children=5)],
        [row(children=[5])],
        ["sda"],
        [row()] * (tools.MAX_DEVICES + 1),
    ],
)
def test_what_no_kernel_has_is_refused(rows):
    with pytest.raises(FormatError):
        lsblk(*rows)


def test_layers_end_somewhere():
    deep = row()
    for number in range(40):
        deep = row(kname=f"dm-{number}", children=[deep])
    with pytest.raises(FormatError, match="deep"):
        lsblk(deep)


def test_texts_are_one_printable_line():
    found = lsblk(row(model="  evil\n\x1b[31m drive \0", serial="x" * 999, label=5, vendor=7))["sda"]
    assert found.model == "evil??[31m drive"
    assert found.serial == "x" * tools.MAX_TEXT
    assert found.vendor is None


def test_a_path_that_leaves_dev_is_not_believed():
    assert lsblk(row(path="/etc/passwd"))["sda"].path == "/dev/sda"
    assert lsblk(row(path="/dev/mapper/a\nb"))["sda"].path == "/dev/sda"
    assert lsblk(row(kname="cciss!c0d0"))["cciss!c0d0"].path == "/dev/cciss/c0d0"


@pytest.mark.parametrize("size", [-1, 1 << 63, True, "1e5", "9" * 30, None, 1.5])
def test_sizes_that_are_none_are_nothing(size):
    assert lsblk(row(size=size))["sda"].size == 0


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"blockdevices": 5}', b"\xff", b"[" * 9999, b"null"])
def test_what_is_no_answer_of_lsblk_is_refused(data):
    with pytest.raises(FormatError):
        tools.parse_lsblk(data)


def test_an_answer_without_end_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(tools, "MAX_OUTPUT", 100)
    with pytest.raises(FormatError, match="at most"):
        tools.parse_lsblk(LSBLK["server"])


def test_signatures():
    found = tools.parse_blkid((VECTORS / "xfs.blkid").read_bytes())
    assert found == ("xfs", "filesystem", "two words", "44ffde7d-ce69-4982-96f3-92022c242531", None)
    assert tools.parse_blkid((VECTORS / "gpt.blkid").read_bytes()).table == "gpt"
    assert tools.parse_blkid((VECTORS / "raid.blkid").read_bytes())[:2] == ("linux_raid_member", "raid")
    assert tools.parse_blkid(b"") == (None,) * 5


def test_mounts_and_swaps():
    found = tools.parse_mounts((VECTORS / "host.mountinfo").read_bytes())
    assert [mount.at for mount in found] == ["/", "/proc", "/mnt/d 1", "/mnt/d2", "/srv/pool", "/net/corpus"]
    assert found[2] == ((8, 0), "/", "/mnt/d 1", "xfs", "/dev/sda", False)
    assert found[4].root == "/sub"
    assert [mount.read_only for mount in found] == [False, False, False, True, False, False]
    assert tools.parse_swaps((VECTORS / "host.swaps").read_bytes()) == ["/dev/dm-0"]


def test_the_names_that_the_kernel_escapes_come_back():
    (mount,) = tools.parse_mounts(rb"1 1 8:1 / /a\040b\134c\377 rw - xfs /dev/sda1 rw" + b"\n")
    assert mount.at.encode("utf-8", "surrogateescape") == b"/a b\\c\xff"


def test_tables_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(tools, "MAX_LINES", 3)
    for parse in (tools.parse_mounts, tools.parse_swaps):
        with pytest.raises(FormatError):
            parse(b"a\n" * 9)


PARSERS = {
    "lsblk": tools.parse_lsblk,
    "blkid": tools.parse_blkid,
    "mountinfo": tools.parse_mounts,
    "swaps": tools.parse_swaps,
}
SEEDS = [(path.suffix[1:], path.read_bytes()) for path in sorted(VECTORS.iterdir()) if path.suffix[1:] in PARSERS]


@st.composite
def altered(draw, seeds):
    """An answer in which some bytes were exchanged, removed or put in, or which ends early."""
    kind, data = draw(st.sampled_from(seeds))
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(
            st.binary(max_size=8) | st.sampled_from([b"null", b"{", b"[", b"-"])
        )
    return kind, bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@given(altered(SEEDS))
def test_any_bytes_are_records_or_an_error_of_ours(case):
    kind, data = case
    try:
        found = PARSERS[kind](data)
    except FormatError:
        return
    if kind == "lsblk":
        assert all(device.path.startswith("/dev/") and device.size >= 0 for device in found.values())
        assert {name for device in found.values() for name in device.above} <= set(found)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_any_value_in_any_place_of_lsblk(data):
    answer = json.loads(LSBLK["server"])
    device = data.draw(st.sampled_from(answer["blockdevices"]))
    device[data.draw(st.sampled_from([*device, "children"]))] = data.draw(VALUES)
    with contextlib.suppress(FormatError):
        tools.parse_lsblk(json.dumps(answer).encode())
