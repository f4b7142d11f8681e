"""The frame of the command line: lazy commands, and every error as one exit code and words on stderr."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
import time

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift import __version__, errors
from sealift.cli import common, main


def run(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "sealift", *arguments], capture_output=True, text=True, timeout=60, check=False, **more
    )


def all_errors(kind=errors.SealiftError):
    for sub in kind.__subclasses__():
        yield sub
        yield from all_errors(sub)


def make(kind):
    return kind("what went wrong", drive="d") if kind is errors.DriveFault else kind("what went wrong", hint="do this")


@pytest.mark.parametrize("command", [["status", "--state"], ["inspect"]])
def test_an_error_prints_no_object(tmp_path, command, capfd):
    """As docs/reference/json.md says of all commands."""
    assert main.run([*command, str(tmp_path / "nowhere"), "--json"]) == errors.BadInput.exit_code
    out, err = capfd.readouterr()
    assert (out, err.startswith("sealift: error: "), "\nhint: " in err) == ("", True, True)


@pytest.fixture
def failing(monkeypatch):
    """A command that raises what the test puts into the list."""
    raised = []

    @click.command("fail")
    def fail():
        if raised:
            raise raised[0]

    module = type(main)("failing_command")
    module.fail = fail
    monkeypatch.setitem(sys.modules, "failing_command", module)
    monkeypatch.setitem(main.COMMANDS, "fail", main.Entry("failing_command:fail", "Fail."))
    return raised


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom sealift.cli import main\n"
        "assert main.run(['--help']) == 0\n"
        "heavy = {'rich', 'pyarrow', 'numpy', 'duckdb', 'cryptography', 'msgspec', 'blake3', 'matplotlib', 'torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    best = 9.0
    for _ in range(3):
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        best = min(best, time.monotonic() - begun)
        assert done.returncode == 0, done.stderr
    assert best < 0.5  # 0.06 s on a machine that does nothing else; the bound is for one that does


def test_every_command_of_the_table_loads_and_has_help():
    for name, entry in main.COMMANDS.items():
        command = main.cli.get_command(None, name)
        assert isinstance(command, click.Command), name
        with click.Context(command, info_name=name) as context:
            text = command.get_help(context)
        assert "Usage:" in text
        assert len(entry.help) < 60
        assert entry.help.endswith(".")


def test_commands_are_in_the_order_of_the_voyage():
    assert list(main.COMMANDS) == [
        "rehearse", "plan", "drives", "declare", "labels", "documents", "screen", "keys", "release", "seal", "pack",
        "status", "source-release", "handover", "custody", "inspect", "verify", "repair", "receipt", "serve", "fleet",
        "unlock", "ls", "cat", "mount", "unpack", "ingest", "train", "erase", "audit",
    ]  # fmt: skip


def test_version_and_help_go_to_stdout():
    assert run("--version").stdout == f"sealift {__version__}\n"
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in main.COMMANDS)


@pytest.mark.parametrize("kind", sorted(all_errors(), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_each_error_has_its_exit_code_and_one_line(kind, failing, capsys):
    failing.append(make(kind))
    assert main.run(["fail"]) == kind.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert "what went wrong" in err
    assert err.startswith("sealift: ")
    assert "Traceback" not in err


def test_hints_and_problems_are_told(failing, capsys):
    failing.append(errors.DeclarationInvalid("two problems", problems=["a: empty", "b: empty"], hint="look"))
    assert main.run(["fail"]) == 1
    assert capsys.readouterr().err == "sealift: error: two problems\n  a: empty\n  b: empty\nhint: look\n"


def test_problems_that_the_message_names_are_told_once(failing, capsys):
    failing.append(errors.DeclarationInvalid("1 problem:\n  a: empty", problems=["a: empty"]))
    main.run(["fail"])
    assert capsys.readouterr().err.count("a: empty") == 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/state/journal"), "/state/journal: no space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", b"/x"), "/x: permission denied"),
        (MemoryError(), "out of memory"),
        (sqlite3.OperationalError("database or disk is full"), "database or disk is full"),
    ],
)
def test_the_machines_refusals_are_sentences(error, says, failing, capsys):
    failing.append(error)
    assert main.run(["fail"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("sealift: error: ")
    assert says in err
    assert "\nhint: " in err


def test_a_fault_of_our_own_is_one_line_unless_asked(failing, capsys, monkeypatch):
    monkeypatch.delenv("SEALIFT_DEBUG", raising=False)
    failing.append(RuntimeError("no\nwords " + "x" * 10_000))
    assert main.run(["fail"]) == main.INTERNAL == 70
    err = capsys.readouterr().err
    assert err.startswith("sealift: internal error: RuntimeError: no words xxx")
    assert err.count("\n") == 2
    assert len(err) < 1000
    monkeypatch.setenv("SEALIFT_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main.run(["fail"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), errors.Interrupted("stopped")])
def test_interruption_is_130(error, failing, capsys):
    failing.append(error)
    assert main.run(["fail"]) == 130
    assert capsys.readouterr().err.strip().startswith("sealift: ")


def test_a_command_says_its_own_exit_code(failing):
    assert main.run(["fail"]) == 0
    failing.append(click.exceptions.Exit(6))
    assert main.run(["fail"]) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "no such command 'nonsense'"),
        (["--nonsense"], "no such option"),
        (["pack", "--nonsense"], "no such option"),
        (["pack", "/tmp"], "missing option"),
        (["status"], "missing option '--state'"),
        (["declare", "a", "b"], "unexpected extra argument"),
        (["pack", "/tmp", "--parity", "many"], "'many' is not a valid integer"),
    ],
)
def test_usage_errors_are_1_and_never_2(arguments, says, capsys):
    assert main.run(arguments) == 1  # 2 says that packing is done, but some files changed
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sealift: error: ")
    assert says in err
    assert "\nhint: sealift" in err


def test_sealift_alone_shows_its_help_and_is_no_success(capsys):
    assert main.run([]) == 1
    assert "See it work" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_fault():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "sealift", "--help"], stdout=gone, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == ""
    assert done.returncode == 1


# --- what commands share ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GiB", 1 << 30), ("64MiB", 64 << 20), ("500MB", 500 * 10**6), ("1048576", 1 << 20), ("2 GiB", 2 << 30),
     ("1K", 1000), ("7B", 7), ("4tib", 4 << 40),
     ("4.8PB", 48 * 10**14), ("1.5GiB", 3 << 29), ("15.36TB", 1536 * 10**10)],
)  # fmt: skip
def test_sizes(text, size):
    assert common.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "1.5", "0.0001kB", "1.GiB", ".5GiB", "-1", "1Gi", "1iB", "1XB", "1 1", "１GiB", "1" * 30]
)
def test_what_is_no_size(text):
    with pytest.raises(errors.BadInput):
        common.parse_size(text)


@given(st.integers(0, 10**17), st.sampled_from(["", "K", "M", "G"]), st.sampled_from(["", "B", "iB"]))
def test_sizes_are_exact(count, unit, kind):
    if kind == "iB" and not unit:
        return
    base = 1024 if kind == "iB" else 1000
    assert common.parse_size(f"{count}{unit}{kind}") == count * base ** ["", "K", "M", "G"].index(unit)


def test_carriers_and_serials():
    assert common.parse_carriers(["Anna=/a,/b", "Bo=/c"]) == {"/a": "Anna", "/b": "Anna", "/c": "Bo"}
    assert common.parse_serials(["/a=b=S1", "/c=S2"]) == {"/a=b": "S1", "/c": "S2"}
    for bad in (["Anna"], ["=/a"], ["Anna="], ["Anna=/a", "Bo=/a"]):
        with pytest.raises(errors.BadInput):
            common.parse_carriers(bad)
    for bad in (["/a"], ["=S"], ["/a="], ["/a=S1", "/a=S2"]):
        with pytest.raises(errors.BadInput):
            common.parse_serials(bad)


@given(st.binary(max_size=40))
def test_every_path_appears_whole_in_json_and_on_one_line(path):
    fields = json.loads(json.dumps(common.path_fields(path)))
    (name, value), *rest = fields.items()
    assert not rest
    if name == "path":
        assert value.encode() == path
    else:
        import base64

        assert base64.b64decode(value) == path
        with pytest.raises(UnicodeDecodeError):
            path.decode()
    shown = common.path_text(path)
    assert shown.isprintable()


@given(st.floats(0, 1e8))
def test_durations_have_at_most_two_units(seconds):
    parts = common.duration_text(seconds).split()
    assert len(parts) in {2, 4}


def test_sizes_on_screens():
    assert [common.size_text(n) for n in (0, 999, 1000, 15_360_950_534_144)] == ["0 B", "999 B", "1.0 kB", "15.4 TB"]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_plain_progress_is_a_line_every_few_seconds(capsys):
    clock = Clock()
    with common.Meter(clock=clock, terminal=False) as meter:
        for step in range(301):
            clock.now = step / 10
            meter.update(
                "packing", step * 10**8, 60 * 10**9, files=step, drives={"/a": step * 10**7, "/b": step * 10**8}
            )
        meter.note("a word")
    lines = capsys.readouterr().err.splitlines()
    assert 4 <= len(lines) <= 8
    assert lines[-1] == "a word"
    assert lines[-2].startswith("packing: ")
    for part in ("of 60.0 GB", "files", "1.00 GB/s", "100.0 MB/s-1.00 GB/s a drive", "s left"):
        assert part in lines[-2]


def test_progress_of_a_short_step_says_nothing(capsys):
    clock = Clock()
    with common.Meter(clock=clock, terminal=False) as meter:
        for step in range(9):
            clock.now = step / 10
            meter.update("scanning", step, None)
    assert capsys.readouterr().err == ""


def test_progress_that_begins_anew_shows_no_wrong_rate(capsys):
    clock = Clock()
    with common.Meter(clock=clock, terminal=False) as meter:
        for start in (0, 100):
            for step in range(100):
                clock.now = start + step
                meter.update("group", step * 10**9, 10**12, drives={"/a": step})
    rates = [line.split(", ")[1] for line in capsys.readouterr().err.splitlines()[2:]]
    assert all(rate.startswith(("1.00 GB/s", "0-", "1 B/s", "1-")) for rate in rates), rates


def test_the_bar_of_a_terminal():
    import pty

    code = (
        "import time\nfrom sealift.cli.common import Meter\n"
        "with Meter() as meter:\n"
        "    for step in range(8):\n"
        "        meter.update('verify', step * 10**9, 20 * 10**9)\n"
        "        time.sleep(0.1)\n"
        "    meter.note('[not markup]')\n"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    child = subprocess.Popen(
        [sys.executable, "-c", code], stderr=theirs, stdout=subprocess.DEVNULL, close_fds=True, env=environment
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the last one closed its end
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert child.wait() == 0
    assert b"verify" in seen
    assert b"of 20.0 GB" in seen
    assert b"[not markup]" in seen


def test_a_missing_argument_keeps_its_name(capsys):
    """MNT is what the help calls it."""
    assert main.run(["repair"]) == 1
    assert "sealift: error: MNT is missing: the folders in which drives are mounted" in capsys.readouterr().err


def test_a_host_to_which_drives_came_in_turn_has_one_line():
    from sealift.cli.common import host_lines
    from sealift.stages.verify_report import HostRow

    def row(name, state, drives, owed=()):
        return HostRow(name=name, state=state, why="its node died", drives=list(drives), owed=list(owed))

    rows = [row("a", "done", ["d1"]), row("b", "lost", ["d3"], ["d3"]), row("a", "done", ["d2", "d1"])]
    first, second, _ = host_lines(rows, "read")
    assert first == "host a: 2 drives read"
    assert second.startswith("host b: LOST (its node died), 1 drive; owed: d3")


def test_a_very_long_line_of_a_list_shows_both_ends(capsys):
    common.say_list(["q" * 4200 + ": file name too long", "short"], 2)
    long, short = capsys.readouterr().err.splitlines()
    assert len(long) < 700
    assert long.endswith("q: file name too long")
    assert "characters ...]" in long
    assert short == "  short"
