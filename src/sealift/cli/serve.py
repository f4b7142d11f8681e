"""`sealift serve`: the drives of a storage host over HTTP, read-only, ciphertext only; no key."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

from sealift.cli import common
from sealift.errors import BadInput
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.stages.serve.places import Places
    from sealift.stages.serve.run import Ready

HELP = """
Serve the drives mounted at MNT... over HTTP, so that other hosts read them where they stand; no key is needed.

Read-only, and ciphertext only: the very files beneath sealift/, under https://HOST:PORT/DRIVE/sealift/, in ranges.
Drives that are mounted there later are found, and one that is pulled takes nothing from the others; nothing is held
open between requests, so that a drive can be unmounted at any time. The address itself answers with a list of the
drives in JSON, /metrics is for Prometheus, /healthz for a load balancer (200 while there is a drive to serve).

\b
  openssl rand -hex 32 > token; chmod 600 token
  sealift serve /mnt/d* --listen 0.0.0.0:8443 --token-file token \\
      --tls-cert host.pem --tls-key host.key

Without a token only this host itself may ask. No storage host needs an identity or a private key: it does not start
where one lies in the environment or in one of these files (exit 5). A drive that comes with one is not served, now or
later, and told: here, in the list and in /metrics; where no other drive is left to serve, it does not start either. It
stays in the foreground; SIGTERM or Ctrl-C ends it when the answers under way are given, at most 20 seconds later.
`sealift fleet` shows all hosts.

Exit 0: it was stopped.
"""


@click.command("serve", help=HELP, short_help="Serve the drives of this host over HTTP; no key.")
@click.argument("mounts", nargs=-1, required=True, metavar="MNT...")
@click.option("--listen", required=True, metavar="HOST:PORT", help="Where to listen, such as 0.0.0.0:8443.")
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(),
    help="Who bears one of these may ask: tokens, one a line. It is read again when it changes.",
)
@click.option("--tls-cert", metavar="FILE", type=click.Path(), help="PEM: the certificate, and those above it.")
@click.option("--tls-key", metavar="FILE", type=click.Path(), help="PEM: its key, without a passphrase.")
@click.option(
    "--report",
    "reports",
    metavar="FILE",
    multiple=True,
    type=click.Path(),
    help="What `sealift verify --json` printed on this host, for `sealift fleet`. May be repeated.",
)
def serve(
    mounts: tuple[str, ...],
    listen: str,
    token_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    reports: tuple[str, ...],
) -> None:
    """Serve until told to stop."""
    try:
        import granian  # noqa: F401 -- looked for before anything is checked
        import starlette  # noqa: F401
    except ImportError as error:
        raise BadInput(f"sealift serve needs {error.name}", hint="pip install 'sealift[serve]'") from error
    from sealift.stages.serve import run

    options = run.Options(mounts, listen, token_file, tls_cert, tls_key, reports)
    ready = run.check(options, os.environ, _say)
    for note in ready.notes:
        common.say(f"note: {note}")
    run.serve(ready, _say, lambda places: _listening(ready, places))
    common.say("stopped")
    _leave()


def _say(text: str) -> None:
    common.say("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


def _listening(ready: Ready, places: Places) -> None:
    here = [place for place in places.places if place.served and place.name is not None]
    for place in here:
        _say(f"{place.mount}: read at {ready.address_of(place.name or '')}")
    common.say(f"{ready.url} serves {counted(len(here), 'drive')}; Ctrl-C or SIGTERM stops it")


def _leave() -> None:
    """End now: a thread that waits for a dead drive would hold the interpreter for as long as the kernel holds it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)
