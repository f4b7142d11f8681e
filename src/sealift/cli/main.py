"""The `sealift` command: finds the command by name, runs it, and maps every error to an exit code, once.

What holds: a command's module is imported when the command runs (or is asked for its own --help), so that
`sealift --help` stays under 0.2 s. Data goes to stdout, words to stderr. An error is `sealift: error:` and,
where there is something to do about it, `hint:`; never a traceback, unless SEALIFT_DEBUG=1.

    0     done
    1     usage or bad input; also what the operating system refused (disk full, not permitted)
    2-6   as errors.py and the commands say
    70    a fault of sealift itself (EX_SOFTWARE of sysexits.h), to be reported
    130   interrupted by Ctrl-C or SIGTERM; the same command again goes on

What is not here: what the commands do, and their options.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import click

from sealift import __version__
from sealift.cli.stopping import Stop
from sealift.errors import DeclarationInvalid, Interrupted, SealiftError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERNAL = 70
REPORT = "please report it, with what SEALIFT_DEBUG=1 prints, where you got sealift from"
INTERRUPTED = "interrupted; the same command again goes on"
MAX_PROBLEMS = 200
STOPS = (signal.SIGINT, signal.SIGTERM)  # of a terminal; and of systemd, Kubernetes and Slurm


class Entry(NamedTuple):
    """A command: where it is defined, and its line in `sealift --help`."""

    target: str
    help: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "See it work": {
        "rehearse": Entry("sealift.cli.rehearse:rehearse", "The whole voyage in small, on scratch drives."),
    },
    "At the origin": {
        "plan": Entry("sealift.cli.plan:plan", "Which drives, which carriers, how long, how sure."),
        "drives": Entry("sealift.cli.drives:drives", "The drives of this host; prepare, test, locate."),
        "declare": Entry("sealift.cli.declare:declare", "Start or check the declaration of a shipment."),
        "labels": Entry("sealift.cli.labels:labels", "Print QR labels for the drives of a plan."),
        "documents": Entry("sealift.cli.documents:documents", "All papers of a shipment, as PDF."),
        "screen": Entry("sealift.cli.screen:screen", "Screen everybody in a declaration against lists."),
        "keys": Entry("sealift.cli.keys:keys", "Prove that recipients can open what is sealed for them."),
        "release": Entry("sealift.cli.release:release", "Release a declaration: another person's signature."),
        "seal": Entry("sealift.cli.seal:seal", "Close a shipment under its released declaration."),
        "pack": Entry("sealift.cli.pack:pack", "Pack a corpus onto drives; the same command again resumes."),
        "status": Entry("sealift.cli.status:status", "Where packing stands, and which drives come next."),
        "source-release": Entry(
            "sealift.cli.source_release:source_release", "Whether the source may be freed, by receipts."
        ),
    },
    "On the way": {
        "handover": Entry("sealift.cli.handover:handover", "Record and sign what happens to drives on the way."),
        "custody": Entry("sealift.cli.custody:custody", "Who has which drive: check and merge custody logs."),
    },
    "At the destination": {
        "inspect": Entry("sealift.cli.inspect:inspect", "What is here, missing, recoverable; no key."),
        "verify": Entry("sealift.cli.verify:verify", "Read and check every byte of every drive; no key."),
        "repair": Entry("sealift.cli.repair:repair", "Make again what is damaged or gone; no key."),
        "receipt": Entry("sealift.cli.receipt:receipt", "Sign what arrived, from the reports of verify."),
        "serve": Entry("sealift.cli.serve:serve", "Serve the drives of this host over HTTP; no key."),
        "fleet": Entry("sealift.cli.fleet:fleet", "Which drives stand on which storage host; no key."),
        "unlock": Entry("sealift.cli.unlock:unlock", "Issue pack keys to a job; the identity stays here."),
        "ls": Entry("sealift.cli.ls:ls", "List what a shipment holds."),
        "cat": Entry("sealift.cli.cat:cat", "Write one file of a shipment to stdout."),
        "mount": Entry("sealift.cli.mount:mount", "Show a shipment as a read-only folder."),
        "unpack": Entry("sealift.cli.unpack:unpack", "Restore the corpus, or a part of it."),
        "ingest": Entry("sealift.cli.ingest:ingest", "Copy into a folder or a bucket, as files or as packs."),
        "train": Entry("sealift.cli.train:train", "Train on the drives as they stand; again resumes."),
        "erase": Entry("sealift.cli.erase:erase", "Erase drives that have arrived, with a certificate each."),
    },
    "Afterwards": {
        "audit": Entry("sealift.cli.audit:audit", "One bundle of every record; verified offline."),
    },
}
COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}

HELP = """
Carry a training corpus to a rented GPU cluster on physical drives: packed, encrypted, declared, sealed,
verified.

\b
  sealift rehearse              see a corpus packed, a carrier lost, and everything restored
  sealift COMMAND --help        what a command does, with an example
"""

EPILOG = """
Exit codes: 0 done; 1 usage or bad input; 2 done, but some source files changed or were skipped; 3 damaged,
all recoverable; 4 something is not recoverable; 5 refused (signature, seal, declaration); 6 more drives
needed; 130 interrupted (Ctrl-C or SIGTERM), the same command again goes on.
"""


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 106}


class LazyGroup(click.Group):
    """A group whose commands are imported by name when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Names in the order of the voyage."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, its module imported now."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table, from its own lines: nothing is imported."""
        width = max(map(len, COMMANDS))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(n.ljust(width), e.help) for n, e in section.items()])


@click.group(
    "sealift",
    cls=LazyGroup,
    help=HELP,
    epilog=EPILOG,
    context_settings=SETTINGS,
)
@click.version_option(__version__, prog_name="sealift", message="%(prog)s %(version)s")
def cli() -> None:
    """Nothing happens before the command."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    for number in STOPS:
        signal.signal(number, leave)  # `run` has a handler of its own while the command works
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def leave(_number: int, _frame: object) -> NoReturn:
    """Asked to stop once the command is over: Python is on its way out, and would print a traceback of where it was."""
    os._exit(Interrupted.exit_code)


def run(arguments: list[str]) -> int:
    """Run one command; the exit code. Every exception ends here."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's; a thread a core spins otherwise, with nothing to do
    stop = Stop()
    try:
        with stop.signals(STOPS):
            code = cli.main(arguments, prog_name="sealift", standalone_mode=False)
            sys.stdout.flush()
    except Exception as error:
        if os.environ.get("SEALIFT_DEBUG") == "1":
            raise
        if stop.asked and not isinstance(error, Interrupted):  # a library made an error of its own of it
            return explain(Interrupted(INTERRUPTED))
        return explain(error)
    except KeyboardInterrupt:
        return explain(Interrupted(INTERRUPTED))
    return code if isinstance(code, int) else 0


def explain(error: Exception) -> int:
    """Say what happened on stderr; the exit code."""
    if isinstance(error, click.Abort):
        error = Interrupted(INTERRUPTED)
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return _say(error.format_message(), None, 1)
    if isinstance(error, DeclarationInvalid):
        return _say(_with_problems(error), error.hint, error.exit_code)
    if isinstance(error, Interrupted):
        click.echo(f"sealift: {error}", err=True)
        return error.exit_code
    if isinstance(error, SealiftError):
        return _say(str(error), error.hint, error.exit_code)
    if isinstance(error, BrokenPipeError):
        from sealift.cli.common import leave_stdout  # which --help does without

        leave_stdout()
        return 1
    if isinstance(error, MemoryError):
        return _say("out of memory", "what was committed is safe; give the process more, and run it again", 1)
    if isinstance(error, OSError):
        return _operating_system(error)
    if "sqlite3" in sys.modules and isinstance(error, sys.modules["sqlite3"].Error):
        hint = "is the disk of the state folder full? what was committed is safe: make room, and run it again"
        return _say(f"the state folder's journal: {error}", hint, 1)
    text = " ".join(str(error).split())[:500]
    click.echo(f"sealift: internal error: {type(error).__name__}: {text}", err=True)
    click.echo(f"hint: {REPORT}; committed work is safe", err=True)
    return INTERNAL


def _say(message: str, hint: str | None, code: int) -> int:
    click.echo(f"sealift: error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    return code


def _usage(error: click.UsageError) -> int:
    """Exit 1, not click's 2: 2 says that packing is done, but some files changed."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # `sealift` alone: the help is what helps
        click.echo(error.format_message(), err=True)
        return 1
    message = error.format_message().rstrip(".")
    path = error.ctx.command_path if error.ctx else "sealift"
    first = message[:1] if message[1:2].isupper() else message[:1].lower()  # MNT stays MNT
    return _say(first + message[1:], f"{path} --help", 1)


def _with_problems(error: DeclarationInvalid) -> str:
    """The message, and every problem that it does not name itself."""
    text = str(error)
    missing = [problem for problem in error.problems[:MAX_PROBLEMS] if problem not in text]
    return "\n  ".join([text, *missing])


def _operating_system(error: OSError) -> int:
    import errno

    why = (error.strerror or str(error) or type(error).__name__).lower()
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    where = f"{' and '.join(names)}: " if names else ""
    again = "what was committed is safe; run the same command again"
    hints: dict[int | None, str] = {
        errno.ENOSPC: "make room, and run the same command again; what was committed is safe",
        errno.EDQUOT: "make room, and run the same command again; what was committed is safe",
        errno.EMFILE: "raise the limit of open files (ulimit -n), and run the same command again",
        errno.EACCES: "run it as a user who may, or mend the permissions",
        errno.EPERM: "run it as a user who may, or mend the permissions",
        errno.EROFS: "this is mounted read-only; mount it for writing, or give another place",
        errno.EIO: "a disk failed; see the kernel's log (dmesg). What was committed is safe",
    }
    return _say(where + why, hints.get(error.errno, again), 1)
