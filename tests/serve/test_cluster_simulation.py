"""The simulated destination: what it is given adds up, and a lost host costs what arithmetic says."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from bench import cluster

    return cluster


def small(cluster):
    return replace(cluster.Site(), drives=12, hosts=4, data=4, parity=2, servers=6, shipped=1.2e12, pack=1 << 30)


def test_what_is_asked_for_is_given_up_to_what_there_is(cluster):
    site = small(cluster)
    (easy,) = cluster.simulate(site, 0.3, seconds=1.0)
    assert easy.stalled == 0
    assert easy.given == pytest.approx(0.3 * site.capacity(), rel=0.05)
    (much,) = cluster.simulate(site, 1.5, seconds=1.0)
    assert much.stalled > 0.2
    assert much.given < site.capacity()
    assert easy.median < much.median
    assert cluster.simulate(site, 0.3, seconds=1.0) == [easy], "the same arguments, the same figures"


def test_a_lost_host_is_rebuilt_from_others_and_costs_that(cluster):
    site = small(cluster)
    share = cluster.after_loss(site)
    assert share == pytest.approx(0.75 / (0.75 + 0.25 * 4))
    before, first, later = cluster.simulate(site, 0.7 * share, seconds=4.0, lost=1.0)
    assert (before.rebuilt, before.stalled) == (0, 0)
    assert later.rebuilt == pytest.approx(0.25, abs=0.08)
    assert later.stalled < 0.02
    assert first.slow > 0.25, "whoever did not know yet was patient"
    assert cluster.simulate(site, 1.3 * share, seconds=6.0, lost=1.0)[2].stalled > 0.05


@pytest.mark.long
def test_the_page_is_written_from_what_was_simulated(cluster, monkeypatch, capsys):
    words = ["--drives", "12", "--hosts", "4", "--data", "4", "--parity", "2", "--servers", "2", "--seconds", "0.2"]
    monkeypatch.setattr(sys, "argv", ["cluster", *words])
    cluster.main()
    printed = capsys.readouterr().out
    assert "12 drives in groups of 4+2 stand in 4 hosts" in " ".join(printed.split())
    assert sum("MB/s a rank" in line for line in printed.splitlines() if line.startswith("|")) == 5 + 9
    monkeypatch.setattr(sys, "argv", ["cluster", "--hosts", "2"])
    with pytest.raises(SystemExit, match="no host has more of one than parity holds"):
        cluster.main()
