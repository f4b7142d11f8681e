"""A shipment to the same hands that was released beside a declaration and is not named is told; nobody is accused."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import filled
import msgspec
import pytest
from trade_cases import AUTHOR, OFFICER, content, party
from trade_cases import related as row

from sealift.stages import related
from sealift.trade import declaration as d
from sealift.trade import release, template

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def declared(consignment="SL-2026-SECOND", **changes):
    fields = {"related": "none", "related_shipments": [], "consignment_id": consignment} | changes
    return d.parse(template.render(content(**fields)).encode(), draft=False)


def put(folder, stem, parsed, at=NOW):
    """As `sealift release` leaves it."""
    signed = filled.released(parsed, OFFICER, AUTHOR, at)
    (folder / f"{stem}.r{parsed.revision}.toml").write_bytes(parsed.raw)
    release_file = Path(release.path_beside(str(folder / f"{stem}.toml")))
    release_file.write_bytes(signed.data)
    return release_file


def notes(folder, parsed):
    return related.unnamed(str(folder / "second.toml"), parsed)


OTHER = party("Another Ltd", "FR", "FR")


@pytest.mark.parametrize(("first", "second", "days", "told"), [
    ({}, {}, 0, "related: SL-2026-FIRST was released on 2026-11-21 for the same end user, User Ltd"),
    ({}, {}, -90, "related: SL-2026-FIRST was released on 2026-08-23"),
    ({}, {}, 90, "related: SL-2026-FIRST"),
    ({}, {}, -91, None), ({}, {}, 91, None),
    ({"end_user": party("USER  ltd")}, {}, 0, "the same end user, User Ltd"),
    ({"end_user": OTHER}, {}, 0, "the same ultimate parent, Consignee Bhd Holding"),
    ({"end_user": OTHER, "consignee": OTHER}, {}, 0, None),
    ({"end_user": OTHER, "consignee": OTHER, "shipper": party("User Ltd")}, {}, 0, None),
    ({"rehearsal": True}, {}, 0, None), ({}, {"rehearsal": True}, 0, None),
    ({}, {"related": "listed", "related_shipments": [row("SL-2026-FIRST")]}, 0, None),
    ({}, {"related": "listed", "related_shipments": [row("SL-2026-THIRD")]}, 0, "related_shipments: SL-2026-FIRST was"),
    ({}, {"leg": "return", "in_reply_to": "SL-2026-FIRST"}, 0, None),
    ({"leg": "return", "in_reply_to": "SL-2026-SECOND"}, {}, 0, None),
])  # fmt: skip
def test_what_is_released_to_the_same_hands_and_not_named_is_told(tmp_path, first, second, days, told):
    mine = declared(status_as_of=NOW.date().isoformat(), **second)
    put(tmp_path, "first", declared("SL-2026-FIRST", **first), NOW + timedelta(days=days))
    put(tmp_path, "second", mine)
    found = notes(tmp_path, mine)
    assert len(found) == (told is not None)
    assert all(told in each and "if it was shipped or will be" in each for each in found)


def test_of_a_shipment_its_newest_release_counts(tmp_path):
    mine = declared(status_as_of=NOW.date().isoformat())
    put(tmp_path, "first", declared("SL-2026-FIRST"))
    later = declared("SL-2026-FIRST", revision=2, supersedes="ab" * 32, end_user=OTHER, consignee=OTHER)
    (tmp_path / "first.release.json").rename(tmp_path / "first.release.1.json")
    put(tmp_path, "first", later)
    assert notes(tmp_path, mine) == []


def test_a_draft_beside_it_is_nothing_that_was_shipped(tmp_path):
    (tmp_path / "first.toml").write_bytes(declared("SL-2026-FIRST").raw)
    assert notes(tmp_path, declared(status_as_of=NOW.date().isoformat())) == []


def test_hostile_files_beside_it_break_nothing(tmp_path, monkeypatch):
    mine = declared(status_as_of=NOW.date().isoformat())
    first = put(tmp_path, "first", declared("SL-2026-FIRST"))
    record = release.decode(first.read_bytes())
    no_time = msgspec.structs.replace(record, consignment_id="SL-2026-FOURTH", released_at="2026-99-99T00:00:00Z")
    (tmp_path / "a.release.json").write_bytes(msgspec.json.encode(no_time))
    (tmp_path / "b.release.json").write_bytes(b"{" * 100_000)
    os.mkfifo(tmp_path / "c.release.json")
    os.mkfifo(tmp_path / "c.toml")
    (tmp_path / "d.release.json").mkdir()
    (tmp_path / "e.toml").symlink_to(tmp_path / "e.toml")
    (tmp_path / "f.toml").write_bytes(b"\xff" * record.declaration.bytes)
    (tmp_path / "g.toml").symlink_to("/dev/zero")
    (tmp_path / "[h].toml").write_text("a.b = [")
    assert len(notes(tmp_path, mine)) == 1
    monkeypatch.setattr(related, "_MAX_READ", record.declaration.bytes - 1)
    assert notes(tmp_path, mine) == [], "no more than so much is read"
