"""Serving a drive's file beside nginx: `python -m bench.serving --work FOLDER`.

    one        one client downloads the whole file
    four       four clients do, at once
    tls        one client, over TLS 1.3
    ranges     one client asks for 64 KiB at a time

The same file, from the page cache, over loopback; contenders take turns; the client is curl, and for ranges
http.client. Bytes a second, and seconds of processor that the server took for a GB: that figure depends little on what
else runs here. Prints a table; the last one that was kept is in docs/adr/0023-what-serves-a-storage-host.md.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import serving
import shipments

if TYPE_CHECKING:
    from collections.abc import Iterator

TICKS = os.sysconf("SC_CLK_TCK")


class Server(NamedTuple):
    """One contender: its process, and the file's address plain and over TLS."""

    process: int
    plain: str
    tls: str


def drive(work: Path, size: int) -> tuple[Path, str]:
    """A drive of a real shipment, one of whose packs is so long; the pack's name."""
    origin = shipments.Origin(work / "origin", shipments.corpus(work / "source"), 2, 1)
    origin.pack()
    mount = Path(origin.mounts[0])
    name = serving.first_pack(mount)
    with (mount / "sealift" / name).open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    return mount, name


@contextlib.contextmanager
def nginx(work: Path, mount: Path, name: str, tls: tuple[str, str, str]) -> Iterator[Server]:
    """One worker process, with sendfile."""
    ports = serving.free_port(), serving.free_port()
    temporary = "".join(f"{kind}_temp_path {work};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (work / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {work}/pid; error_log {work}/errors; user root; events {{}}\n"
        f"http {{ access_log off; sendfile on; aio threads; {temporary} server {{ root {mount};"
        f" listen 127.0.0.1:{ports[0]}; listen 127.0.0.1:{ports[1]} ssl; ssl_protocols TLSv1.3;"
        f" ssl_certificate {tls[1]}; ssl_certificate_key {tls[2]}; }} }}\n"
    )
    master = subprocess.Popen(["nginx", "-c", work / "nginx.conf"])
    try:
        time.sleep(1)
        worker = int(Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()[0])
        urls = (
            f"{scheme}://127.0.0.1:{port}/sealift/{name}" for scheme, port in zip(("http", "https"), ports, strict=True)
        )
        yield Server(worker, *urls)
    finally:
        master.terminate()
        master.wait(10)


def processor(process: int) -> float:
    """Seconds of processor that a process has taken."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


def download(url: str) -> None:
    """The whole file, into nothing."""
    subprocess.run(["curl", "-sSk", "-o", "/dev/null", url], check=True)


def ranges(url: str, size: int, count: int) -> None:
    """`count` ranges of 64 KiB over one connection."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host)
    for number in range(count):
        first = number * 65536 % (size - 65536)
        connection.request("GET", f"/{path}", headers={"Range": f"bytes={first}-{first + 65535}"})
        connection.getresponse().read()
    connection.close()


def measure(kind: str, server: Server, size: int) -> tuple[float, float]:
    """Bytes a second, and seconds of processor for a GB."""
    before, begun, total = processor(server.process), time.monotonic(), size
    if kind == "ranges":
        total = 2000 * 65536
        ranges(server.plain, size, 2000)
    elif kind == "four":
        total = 4 * size
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(download, [server.plain] * 4))
    else:
        download(server.tls if kind == "tls" else server.plain)
    return total / (time.monotonic() - begun), (processor(server.process) - before) / total * 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder; a tmpfs leaves the disk out")
    parser.add_argument("--mib", type=int, default=1024, help="length of the file")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    work = given.work / "bench-serving"
    work.mkdir(parents=True)
    try:
        mount, name = drive(work, given.mib << 20)
        tls = serving.certificates(work / "tls")
        with (
            nginx(work, mount, name, tls) as other,
            serving.serving(mount) as plain,
            serving.serving(mount, tls=tls) as secured,
        ):
            paths = [f"{host.url}{host.names()[0]}/sealift/{name}" for host in (plain, secured)]
            table(Server(plain.process.pid, *paths), secured.process.pid, other, given.mib << 20, given.rounds)
    finally:
        shutil.rmtree(work)


def table(ours: Server, secured: int, other: Server, size: int, rounds: int) -> None:
    """Take turns, and print medians."""
    print("| | nginx MB/s | serve MB/s | ratio | nginx s/GB | serve s/GB |\n|---|---|---|---|---|---|")
    for kind in ("one", "four", "tls", "ranges"):
        mine = ours._replace(process=secured) if kind == "tls" else ours
        turns = [(measure(kind, other, size), measure(kind, mine, size)) for _ in range(rounds)]
        theirs, own = ([turn[side] for turn in turns] for side in (0, 1))
        rates = [statistics.median(rate for rate, _ in found) for found in (theirs, own)]
        costs = [statistics.median(cost for _, cost in found) for found in (theirs, own)]
        print(
            f"| {kind} | {rates[0] / 1e6:,.0f} | {rates[1] / 1e6:,.0f} | {rates[1] / rates[0]:.2f} "
            f"| {costs[0]:.2f} | {costs[1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
