"""The page of a plan: what is on it, that nothing on it is more than text, and plans at the edge of what there is."""

from __future__ import annotations

import html
import html.parser
import itertools
import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.stages.plan import choose, corpus, geometry, report, report_charts, report_timeline, report_words, told
from sealift.stages.plan.calibrate import Calibration
from sealift.stages.plan.odds import Odds
from sealift.stages.plan.terms import DAY, HOUR, Idle, Span
from sealift.stages.plan.voyage import Percentile

quietly = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
NOW = datetime(2026, 12, 1, tzinfo=UTC)
MEASURED = Calibration(
    taken="2026-11-25T00:00:00Z", sealift="0.1.0", processor="one", cores=2, medium="tmpfs", data=6, parity=2,
    file_bytes=10_000, start_seconds=0.5, scan_file=20e-6, noise_byte=2e-9, text_byte=4e-9, text_packed=0.2,
    pack_file=50e-6, parity_byte=0.6e-9, code_byte=0.02e-9, code_parity=0.01e-9, verify_byte=0.25e-9,
    inspect_seconds=0.1, open_seconds=0.3, read_noise_byte=1e-9, read_text_byte=2e-9, read_file=10e-6, busy=0.0,
    unknown=("how fast the drives are",),
)  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</td></table></style><!--&amp;",
    "{{ 7 * 7 }}{% for x in y %}",
    "شركة النقل البحري للبيانات الكبيرة جدا والبعيدة عن كل الموانئ",
    "海上运输公司" * 10,
    "🚢" * 60,
    "W" * 64,
]


def planned(*, chosen=None, carried=None, **voyage):
    voyage = told.ready(told.Voyage(**voyage), now=NOW)
    carried = carried or corpus.on_paper(told.size(voyage.bytes), told.count(voyage.files), share=voyage.packed_share)
    return choose.plan(voyage, carried, MEASURED, chosen=chosen)


@pytest.fixture(scope="module")
def large():
    return planned(
        bytes="4.8PB", files="1.2e9", bays=24, hosts=4, cores=64, survive="any carrier and 1 drive",
        drives=(told.drives("100x80TB:ssd"),), carriers=told.carriers("12xcourier"),
        deadline=datetime(2026, 12, 20, tzinfo=UTC), lease_begins=datetime(2026, 12, 6, tzinfo=UTC),
        training=told.Training(gpus=2400, gpu_hours=500_000.0, return_bytes="2TB"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def small():
    return planned(
        bytes="20TB", files="400000", bays=4, survive="any drive", drives=(told.drives("4x12TB"),),
        carriers=told.carriers("Anna:hand"), packed_share=0.9,
    )  # fmt: skip


VOID = {"meta", "br"}


class Page(html.parser.HTMLParser):
    """What a browser makes of it: balanced, without anything that runs or is fetched; tables, texts and titles."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.rows, self.said = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag not in {"script", "link", "iframe", "object", "embed", "img", "image", "use", "base", "form", "a"}
        for name, value in attributes:
            assert not name.startswith("on"), (tag, name)
            assert name not in {"src", "href", "xlink:href", "srcset", "action", "background", "data"}, (tag, name)
            assert "url(" not in (value or "")
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            assert "url(" not in data
            assert "@import" not in data
            return
        self.said.append(data)
        if {"td", "th"} & set(self.open) and self.rows:
            self.rows[-1][-1] += data

    def count(self, tag, kind):
        return sum(one == tag and kind in (of.get("class") or "").split() for one, of in self.tags)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())

    def row(self, *first):
        """The cells of the row that begins so, their white space made one."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return next(row for row in rows if tuple(row[: len(first)]) == first)


def shown(found):
    return Page(report.page(found))


# --- what is on it ---------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_first_lines_are_the_plan_s(large):
    page = shown(large)
    for line in (large.why, large.survives, *large.warnings, "In time", "--geometry 4x16+5"):
        assert line in page.text
    assert not page.count("div", "bad")


@pytest.mark.long
def test_what_is_not_safe_and_not_in_time_is_said(large):
    late = replace(large, met=False, most_loss=1e-9, outcome=replace(large.outcome, all=40 * DAY), on_time=0.03)
    page = shown(late)
    assert page.count("div", "bad") == 1
    assert "Not as safe as wanted: a loss of bytes with probability 1 in 10⁹ at most was asked for" in page.text
    assert "Not in time, in 3% of drawn voyages it is: as planned, all data is readable 21 days after the" in page.text


def test_every_drive_is_a_cell_with_group_slot_and_number(large):
    page = shown(large)
    cells = [of["title"] for tag, of in page.tags if tag == "div" and "dr" in (of.get("class") or "").split()]
    assert sorted(cells) == sorted(
        f"drive {each.number} of 84, {each.drive.name}: group {each.group}, slot {each.slot}, with {each.carrier}"
        for each in large.places
    )
    text = report.page(large)
    for each in large.places:
        assert f">g{each.group}s{each.slot}<br><small>{each.number}</small>" in text
        row = page.row(str(each.number), each.drive.name)
        assert row[-2:] == [f"g{each.group}s{each.slot}", each.carrier]


def test_of_few_drives_the_map_says_the_names(small):
    assert "1: drive-001" in shown(small).text
    assert shown(small).count("div", "named") == 1


@pytest.mark.long
@pytest.mark.parametrize(("survive", "most"), [("any carrier", None), ("any drive", None), ("any drive", 2)])
@pytest.mark.parametrize("parity", [None, 2])
def test_what_a_lost_carrier_takes_agrees_with_the_places_one_by_one(survive, most, parity):
    carriers = told.carriers("b:hand,c,a:checked-bag")
    found = planned(
        bytes="60TB", files="1000", bays=6, survive=survive, drives=(told.drives("6x20TB"), told.drives("6x10TB")),
        carriers=(replace(carriers[0], most_drives=most), *carriers[1:]), chosen=parity and f"2x{6 - parity}+{parity}",
    )  # fmt: skip
    one = found.chosen.geometry
    for lost in report._carriers(found, ["a", "b", "c"]):
        gone = dict.fromkeys(range(one.groups), 0)
        for place in found.places:
            gone[place.group] += place.carrier == lost.name
        size = geometry.drive_bytes(found.wanted, one)
        dead = sum(size[group] * count / one.size for group, count in gone.items() if count > one.parity) / sum(size)
        assert lost.share_lost == pytest.approx(dead)
        assert lost.drives == sum(gone.values())
        assert {each.drives: each.groups for each in lost.taken} == {
            count: list(gone.values()).count(count) for count in gone.values()
        }
        assert lost.odds == next(each.odds for each in found.single if each.name == lost.name)
        assert [lost.late.all, lost.lost.all] == [
            next(case.outcome.all for case in found.cases if (case.what, case.carrier) == (what, lost.name))
            for what in ("late", "lost")
        ]


def test_every_drive_is_in_one_class_of_drives_alike(large):
    classes = report._drives(large)
    names = [name for each in classes for name in each.names]
    assert sorted(names) == sorted(place.drive.name for place in large.places)
    assert classes[-1].words == "every other drive"
    assert len({report_words.chance(each.odds) for each in classes}) == len(classes)


def test_every_way_has_its_cost_with_its_parts_and_what_it_cannot(large):
    page = shown(large)
    for at, way in enumerate(large.comparison.alternatives):
        row = page.row(chr(ord("A") + at))
        assert way.title in row[1]
        assert row[4] == report_words.money(way.usd)
        assert row[5] == "; ".join(way.cannot)
        for part in way.parts:
            assert page.row(part.what)[at + 1] == report_words.money(part.usd)
    assert "Drives are faster than the link from 541 TB on" in page.text
    assert large.comparison.closed[0] in page.text


def test_every_geometry_is_a_point_and_the_front_is_a_table(large):
    page = shown(large)
    dots = [of["class"].split()[1] for tag, of in page.tags if tag == "circle"]
    ways = [way for way in large.comparison.alternatives if way.days_to_all is not None]
    assert dots.count("front") == len(large.front) - 1 + len(ways) - 1
    assert dots.count("other") == len(large.choices) - len(large.front)
    assert dots.count("chosen") == 2
    for each in large.front:
        row = page.row(choose.name(each.geometry) + (" chosen" if each == large.chosen else ""))
        assert row[2] == str(each.geometry.drives_used)
        assert row[5] == report_words.one_in(each.odds.loss)


def points(picture):
    """What stands where: the words before the colon of each point's title, and its place from the lower left."""
    found = re.findall(r'<circle class="[^"]*" cx="([^"]*)" cy="([^"]*)" r="[^"]*"><title>([^:]*)', picture)
    return {words: (float(x), -float(y)) for x, y, words in found}


def in_order(values, places):
    """The larger value is farther, by no less than what drawing rounds away."""
    pairs = sorted(zip(values, places, strict=True))
    return all(one[1] <= two[1] + 0.11 for one, two in itertools.pairwise(pairs)) and pairs[0][1] < pairs[-1][1]


def test_points_stand_where_their_values_are(large):
    where = points(report_charts.odds_chart(large.choices, large.front, large.chosen, large.most_loss))
    assert len(where) == len(large.choices)
    places = [where[choose.name(each.geometry)] for each in large.choices]
    assert in_order([each.geometry.overhead for each in large.choices], [x for x, _ in places])
    assert in_order([each.odds.loss for each in large.choices], [y for _, y in places])
    ways = [(str(at), way) for at, way in enumerate(large.comparison.alternatives)]
    where = points(report_charts.cost_chart(ways, 3.0))
    places = [where[html.escape(f"{at} {way.title}")] for at, way in ways]
    assert in_order([way.days_to_all for _, way in ways], [x for x, _ in places])
    assert in_order([way.usd for _, way in ways], [y for _, y in places])


def test_every_number_is_there_with_its_source_and_whether_it_has_an_authority(large):
    page = shown(large)
    assert len(large.numbers) > 40
    for each in large.numbers:
        row = page.row(each.name)
        assert float(row[1].split()[0].replace("_", "")) == each.value
        assert each.unit in row[1]
        assert each.source in row[2]
        assert row[3] == each.date
        assert ("no authority" in row[4]) is not each.authority


def test_what_was_told_is_there_and_what_was_not_is_a_default(large):
    page = shown(large)
    assert page.row("bays of a host") == ["bays of a host", "24", "told"]
    assert page.row("seed") == ["seed", "0", "default"]
    assert page.row("weights that go home") == ["weights that go home", "2 TB", "told"]
    assert page.row("drives", "100 × 80 TB ssd")[2] == "told"
    assert page.row("carriers")[1].startswith("carrier-01: courier")


def test_every_field_that_can_be_told_has_words():
    for record in (told.Voyage, told.Training):
        assert {*record.__struct_fields__} - {"training"} <= set(report._WORDS)


def test_a_corpus_that_was_looked_at_is_drawn():
    seen = corpus.Corpus(
        source="/data/corpus", files=1100, folders=7, links=3, bytes=10**12, largest=10**9,
        kinds=(
            corpus.Kind(kind="text", files=1000, bytes=9 * 10**11), corpus.Kind(kind="other", files=100, bytes=10**11)
        ),
        sizes=(100, 0, 0, 900, 50, 50), share=0.6, low=0.55, high=0.65, samples=400, skipped=25,
        skipped_first=("a/fifo: no regular file", "a/\udcff\udcfe: no regular file"),
    )  # fmt: skip
    found = planned(
        bays=4, survive="any drive", drives=(told.drives("4x12TB"),), carriers=told.carriers("Anna:hand"), carried=seen
    )
    text = report.page(found)
    page = Page(text)
    assert page.count("rect", "column") == 4
    assert "900 files of 4 to 7 bytes" in page.text
    assert "a byte becomes 60% of one, by 400 samples (55% to 65%" in page.text
    assert page.row("text")[3] == "90%"
    assert "25 entries that cannot be carried" in page.text
    assert "and 23 more" in page.text
    text.encode()
    assert r"a/\udcff\udcfe" in page.text


# --- nothing on it is more than text ---------------------------------------------------------------------


def hostile(found, texts):
    """The plan with such names in all places that have one."""
    of = itertools.cycle(texts)
    name = {carrier.name: f"{number} {next(of)}"[:64] for number, carrier in enumerate(found.wanted.carriers)}
    name |= {drive.name: f"{number} {next(of)}"[:64] for number, drive in enumerate(found.wanted.drives)}
    plan = found.plan
    return name, replace(
        found,
        voyage=replace(
            found.voyage, carriers=tuple(replace(each, name=name[each.name]) for each in found.voyage.carriers)
        ),
        wanted=replace(
            found.wanted,
            drives=tuple(replace(each, name=name[each.name]) for each in found.wanted.drives),
            carriers=tuple(replace(each, name=name[each.name]) for each in found.wanted.carriers),
        ),
        corpus=replace(found.corpus, source=next(of), skipped=3, skipped_first=tuple(texts)),
        calibration=replace(found.calibration, processor=next(of), medium=next(of), unknown=tuple(texts)),
        single=tuple(replace(each, name=name[each.name]) for each in found.single),
        outcome=replace(
            found.outcome, spans=tuple(replace(each, who=name.get(each.who, each.who)) for each in found.outcome.spans)
        ),
        cases=tuple(replace(each, carrier=name.get(each.carrier, "")) for each in found.cases),
        numbers=tuple(replace(each, source=next(of), note=next(of), date=next(of)) for each in found.numbers),
        warnings=tuple(texts),
        why=next(of),
        plan=replace(
            plan,
            drives=tuple(
                replace(each, name=name[each.name], make=next(of), model=next(of), carrier=name[each.carrier])
                for each in plan.drives
            ),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("size", ["small", "large"])
def test_names_of_every_kind_are_text_and_whole(size, request):
    before = request.getfixturevalue(size)
    name, found = hostile(before, HOSTILE)
    page = shown(found)
    for each in [*HOSTILE, *(name[place.drive.name] for place in before.places)]:
        assert " ".join(each.split()) in page.text
    assert "49" not in re.findall(r"\b49\b", found.why)
    plain = shown(before)
    assert page.count("div", "dr") == plain.count("div", "dr")


texts = st.text(min_size=1, max_size=64)


@pytest.mark.long
@quietly
@given(st.lists(texts, min_size=1, max_size=8))
def test_whatever_is_written_somewhere_the_page_stays_a_page(small, given):
    _, found = hostile(small, given)
    text = report.page(found)
    text.encode()
    page = Page(text)
    assert page.count("div", "dr") == len(found.places)


def test_a_policy_in_the_page_forbids_all_that_is_not_in_it(small):
    text = report.page(small)
    assert "default-src 'none'; style-src 'unsafe-inline'" in html.unescape(text)
    assert not re.search(r"https?:|//\w", text)


# --- at the edge of what there is ------------------------------------------------------------------------


def test_one_drive_and_one_carrier_without_parity():
    found = planned(
        bytes="5TB",
        files="10",
        bays=1,
        survive="no loss",
        drives=(told.drives("12TB"),),
        carriers=told.carriers("A:hand"),
    )
    page = shown(found)
    assert found.chosen.geometry.parity == 0
    assert "No deadline was told." in page.text
    assert page.row("A1 drive")[2] == "0.0%"
    assert "not what is on it" in page.text


def never(outcome):
    return replace(
        outcome, first_arrival=None, first_batch=None, half=None, all=None, verified=None, repaired=None,
        source_free=None, trained=None, home=None, erased=None, idle=Idle(first_batch=None, half=None, all=None),
        in_time=False,
    )  # fmt: skip


def test_a_voyage_that_never_arrives(large):
    found = replace(
        large,
        met=False,
        outcome=never(large.outcome),
        in_time=Odds(loss=1.0, share_lost=1.0, exact=False),
        cases=tuple(replace(each, outcome=never(each.outcome)) for each in large.cases),
        percentiles=tuple(
            Percentile(percent=each, first_batch=None, half=None, all=None, source_free=None) for each in (10, 50, 90)
        ),
    )
    page = shown(found)
    assert "Not in time: not all data arrives." in page.text
    assert page.row("all")[1:] == ["never", "never", "never", "never", "for ever"]


def test_ways_that_never_end_are_in_the_table_and_not_in_the_picture(large):
    ways = large.comparison.alternatives
    for end in (1, len(ways)):
        comparison = replace(
            large.comparison,
            alternatives=tuple(
                replace(each, days_to_all=None, days_to_first_batch=None) if at >= len(ways) - end else each
                for at, each in enumerate(ways)
            ),
            break_even=replace(
                large.comparison.break_even, faster_from_bytes=0.0, link_rate=None, cheaper_from_bytes=0.0
            ),
        )
        page = shown(replace(large, comparison=comparison))
        assert "Drives are faster at any size." in page.text
        assert "no link is as fast as drives" in page.text
        assert page.row("G")[2:4] == ["never", "never"]
        assert sum(tag == "circle" for tag, _ in page.tags) == len(large.choices) + len(ways) - end


@pytest.mark.long
@pytest.mark.parametrize("wanted", [0.0, 0.001])
@pytest.mark.parametrize("loss", [0.0, 1e-40, 1e-320, 0.5, 1.0])
def test_choices_that_are_all_equal_whatever_they_lose(large, loss, wanted):
    odds = Odds(loss=loss, share_lost=loss, exact=True)
    choices = tuple(replace(large.chosen, odds=odds, seconds=float(at)) for at in range(5))
    found = replace(large, most_loss=wanted, choices=choices, front=choices, chosen=choices[0])
    page = shown(found)
    assert "nan" not in page.text
    for tag, of in page.tags:
        if tag == "circle":
            assert 0 <= float(of["cx"]) <= report_charts.WIDE
            assert 0 <= float(of["cy"]) <= 400


def test_what_was_simulated_says_so_with_its_error(large):
    odds = Odds(loss=0.0, share_lost=0.0, exact=False, loss_error=1e-5, share_error=1e-5)
    chosen = replace(large.chosen, odds=odds)
    page = shown(replace(large, chosen=chosen, choices=(chosen,), front=(chosen,)))
    assert "less than 1 in 50,000, simulated" in page.text
    assert page.count("line", "error") == 1


def test_a_hundred_drives_take_less_than_three_seconds_and_the_same_plan_gives_the_same_bytes(large):
    begun = time.perf_counter()
    first = report.page(large)
    assert time.perf_counter() - begun < 3
    assert report.page(large) == first


def test_without_jinja2_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(BadInput, match="jinja2") as caught:
        report.require()
    assert "sealift[plan]" in caught.value.hint


# --- the timeline ----------------------------------------------------------------------------------------

moments = st.floats(0, 400 * DAY)
spans = st.lists(
    st.builds(
        lambda who, what, begin, long: Span(who=who, what=what, begin=begin, end=begin + long),
        st.sampled_from(["a", "b", "weights", "cluster", "origin", "host 1"]),
        st.sampled_from(["carriage", "customs", "receive", "verify", "late"]), moments, st.floats(1, 90 * DAY),
    ), max_size=40,
)  # fmt: skip


@quietly
@given(spans, moments, st.none() | moments)
def test_bars_of_one_lane_never_overlap_and_all_is_within_the_axis(large, found, deadline, lease):
    who = sorted({each.who for each in found})
    chart = report_timeline.chart(replace(large.outcome, spans=tuple(found)), who, deadline=deadline, lease=lease)
    assert sorted(name for row in chart.rows for name in row.names) == who
    for row in chart.rows:
        for lane in range(row.lanes):
            bars = sorted(bar for bar in row.bars if bar.lane == lane)
            assert all(one.left + one.width <= two.left + 0.16 for one, two in itertools.pairwise(bars))
        assert all(bar.left >= 0 and bar.left + bar.width <= 100.16 for bar in row.bars)
    assert all(0 <= mark.left <= 100 for mark in chart.marks)
    assert len(chart.ticks) <= 13
    assert [tick.left for tick in chart.ticks] == sorted({tick.left for tick in chart.ticks})


@quietly
@given(st.lists(st.floats(0, 30 * DAY), min_size=3, max_size=3), moments)
def test_labels_of_marks_do_not_overlap(large, times, deadline):
    first, half, every = sorted(times)
    outcome = replace(large.outcome, first_batch=first, half=half, all=every)
    for mark, other in itertools.combinations(
        report_timeline.chart(outcome, [], deadline=deadline, lease=5 * DAY).marks, 2
    ):
        boxes = []
        for each in (mark, other):
            wide = 100 * (len(each.what) + len(report_words.span(each.seconds)) + 2) * 6.4 / 560
            boxes.append((each.left - wide, each.left) if each.flip else (each.left, each.left + wide))
        (a, b), (c, d) = boxes
        assert mark.line != other.line or b <= c or d <= a


def test_what_overlaps_has_a_lane_of_its_own_and_what_follows_has_not(large):
    for begin, lanes in ((DAY, 1), (DAY - 600, 2)):
        spans = (
            Span(who="a", what="receive", begin=0.0, end=DAY),
            Span(who="a", what="verify", begin=begin, end=2 * DAY),
        )
        chart = report_timeline.chart(replace(large.outcome, spans=spans), ["a"], deadline=None, lease=None)
        assert [row.lanes for row in chart.rows] == [lanes]


def test_a_carrier_may_have_the_name_of_a_row(large):
    names = ["cluster", "host 1", "weights"]
    spans = [Span(who=name, what="carriage", begin=0.0, end=DAY) for name in names]
    spans += [
        Span(who="host 1", what="pack group 0", begin=0.0, end=HOUR),
        Span(who="cluster", what="pack weights", begin=3 * DAY, end=4 * DAY),
        Span(who="weights", what="carriage", begin=4 * DAY, end=5 * DAY),
    ]
    chart = report_timeline.chart(replace(large.outcome, spans=tuple(spans)), names, deadline=None, lease=None)
    assert [(row.part, row.names[0], len(row.bars)) for row in chart.rows] == [
        ("origin", "host 1", 1), ("carriers", "cluster", 1), ("carriers", "host 1", 1), ("carriers", "weights", 1),
        ("destination", "cluster", 1), ("destination", "weights, on their way home", 1),
    ]  # fmt: skip


def test_many_hosts_and_carriers_alike_share_a_row(large):
    spans = [Span(who=f"host {at}", what=f"pack group {at}", begin=0.0, end=DAY) for at in range(40)]
    spans += [Span(who=f"c{at:03d}", what="carriage", begin=DAY, end=3 * DAY) for at in range(300)]
    spans += [Span(who=f"d{at:03d}", what="carriage", begin=DAY, end=(3 + at) * DAY) for at in range(1, 100)]
    who = sorted({each.who for each in spans if each.what == "carriage"})
    chart = report_timeline.chart(replace(large.outcome, spans=tuple(spans)), who, deadline=None, lease=None)
    assert chart.rows[0].names == ("40 hosts",)
    assert (chart.rows[1].names, chart.rows[1].more) == (("c000", "c001", "c002", "c003"), 296)
    assert len(chart.rows) == 1 + report_timeline.MOST_ROWS
    assert chart.left_out == 100 - report_timeline.MOST_ROWS


def test_what_is_far_away_is_cut_and_said(large):
    chart = report_timeline.chart(large.outcome, [], deadline=1000 * DAY, lease=None)
    assert chart.cut
    assert chart.seconds < 40 * DAY
    assert next(mark for mark in chart.marks if mark.what == "deadline").cut


# --- words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (report_words.size(4.8e15), "4.8 PB"), (report_words.size(999_999_999_999), "1 TB"),
        (report_words.size(12), "12 B"),
        (report_words.span(None), "never"), (report_words.span(0.3), "0.3 s"), (report_words.span(5400), "1.5 h"),
        (report_words.span(575_558), "6.66 days"), (report_words.span(1e9), "11,574 days"),
        (report_words.one_in(5.05398e-05), "1 in 19,800"), (report_words.one_in(1e-12), "1 in 10¹²"),
        (report_words.one_in(0.0), "none expected"), (report_words.one_in(1.0), "100%"),
        (report_words.one_in(0.9999), "over 99%"), (report_words.one_in(5e-324), "1 in very many"),
        (report_words.money(2_416_915.2), "$2.42 M"), (report_words.money(0), "$0"), (report_words.money(0.5), "$0.50"),
        (report_words.later(3 * DAY, DAY), "+2 days"), (report_words.later(DAY, DAY), "as planned"),
        (report_words.later(None, DAY), ""), (report_words.bits(83.4e9), "83.4 Gb/s"),
        (report_words.runs([0, 1, 2, 3, 7, 9, 10]), "0 to 3, 7, 9 and 10"),
        (report_words.exactly(1e10), "10_000_000_000"),
        (report_words.exactly(1e-15), "1e-15"), (report_words.moment(NOW, 1e30), ""),
    ],
)  # fmt: skip
def test_words(said, wanted):
    assert said == wanted


@given(st.floats(0, 1))
def test_no_loss_is_rounded_to_none_or_to_certainty(loss):
    said = report_words.one_in(loss)
    assert (said == "none expected") == (loss == 0)
    assert (said == "100%") == (loss == 1)
