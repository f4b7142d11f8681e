"""Nothing is locked in: the commands printed in OPEN-ME.txt, as they stand there, check and restore everything.

Run as an ordinary user, with age, zstd, tar, b3sum, cat and ssh-keygen; not skippable where CI is set.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import shipments
from blake3 import blake3

TOOLS = ("age", "zstd", "tar", "b3sum", "ssh-keygen", "bash", "setpriv")


def blocks(text: str, title: str) -> list[str]:
    """The indented commands of the section that begins with `title`."""
    section = text[text.index(title) :]
    section = section[: re.search(r"\n(?:[0-9]\. |[A-Z]+[,:])", section[len(title) :]).start() + len(title)]
    found = re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE)
    assert found, title
    return ["".join(line[4:] for line in block.splitlines(keepends=True)) for block in found]


@pytest.fixture
def outsider(tmp_path_factory):
    """A folder of an ordinary user's, and a way to run bash as that user in a folder."""
    shipments.need(*TOOLS)
    home = tmp_path_factory.mktemp("outsider")
    who = []
    if os.geteuid() == 0:
        os.chown(home, 65534, 65534)
        for folder in [home, *home.parents]:
            if folder != Path("/tmp"):
                folder.chmod(folder.stat().st_mode | 0o055)
            if folder.parent == Path("/tmp"):
                break
        who = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]

    def bash(script: str, cwd) -> str:
        done = subprocess.run(
            [*who, "bash", "-o", "pipefail", "-c", script],
            cwd=cwd,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C"},
        )
        told = [line for line in done.stderr.splitlines() if "implausibly old time stamp" not in line]
        assert told == [], told[:20]
        return done.stdout

    return home, bash


def restore(origin, home, bash) -> Path:
    """Follow OPEN-ME.txt of every drive, step by step."""
    target, folders = home / "target", home / "folders.tar"
    bash(f"mkdir {target}", home)
    shutil.copy(origin.root / "identity", home / "identity")
    shutil.copy(origin.root / "allowed", home / "allowed")
    for file in ("identity", "allowed"):
        (home / file).chmod(0o644)
    words = {
        "ALLOWED_SIGNERS": str(home / "allowed"),
        "SIGNER": "origin@example.com",
        "IDENTITY": str(home / "identity"),
        "TARGET": str(target),
        "FOLDERS": str(folders),
    }

    def said(block: str) -> str:
        return re.sub(r"\b(" + "|".join(words) + r")\b", lambda match: shlex.quote(words[match[0]]), block)

    texts = {mount: Path(mount, "sealift", "OPEN-ME.txt").read_text() for mount in origin.mounts}
    for mount, text in texts.items():
        for block in blocks(text, "CHECK"):
            for line in block.splitlines():
                out = bash(said(line), f"{mount}/sealift")
                assert "Good " in out or re.fullmatch(r"(.*: OK\n)*", out)
    for mount, text in texts.items():
        (block,) = blocks(text, "1. The files")
        bash(said(block), f"{mount}/sealift")
    join(next(iter(texts.values())), os.fsencode(target), origin, bash)
    collect, extract = blocks(next(iter(texts.values())), "3. The folders")
    for mount, text in texts.items():
        bash(said(blocks(text, "3. The folders")[0]), f"{mount}/sealift")
    assert folders.exists() or collect
    if folders.exists():
        bash(said(extract), home)
    return target


def join(text: str, target: bytes, origin, bash) -> None:
    """Step 2: the segments, by the commands as printed; NAME is each name in turn."""
    (block,) = blocks(text, "2. The segments")
    digests = {blake3(path).hexdigest(16).encode(): path for path in shipments.picture(origin.source)}
    known = shipments.picture(origin.source)
    for folder, _, files in list(os.walk(target)):
        for name in files:
            whole = (folder + b"/" + name).removeprefix(target + b"/")
            if not name.endswith(b".part-000000") or whole in known:
                continue
            stem = name.removesuffix(b".part-000000")
            script = re.sub(r"\bNAME\b", '"$NAME"', block)
            quoted = "NAME=./" + "".join(f"\\x{byte:02x}" for byte in stem)
            bash(quoted.replace("NAME=./", "NAME=$'./") + "'\n" + script, folder)
            digest = re.fullmatch(rb"\.sealift-([0-9a-f]{32})", stem)
            if digest:
                os.rename(folder + b"/" + stem, target + b"/" + digests[digest[1]])


@pytest.mark.parametrize(("data", "parity", "groups"), [(1, 0, 1), (2, 1, 1), (2, 1, 2)])
def test_the_printed_commands_restore_the_tree_as_an_ordinary_user(tmp_path, outsider, data, parity, groups):
    home, bash = outsider
    source = shipments.corpus(tmp_path / "source")
    for number in range(150):  # folders in several packs: a closed one above one that is still to be made
        os.makedirs(source / "many" / f"{number % 15:02d}" / f"{number:03d}" / "below")
    for number in range(0, 15, 2):
        (source / "many" / f"{number:02d}").chmod(0o555)
        os.utime(source / "many" / f"{number:02d}", ns=(number, 1_234_567_890_000_000_000 + number))
    os.utime(source / "many", ns=(1, 1))
    origin = shipments.Origin(
        tmp_path / "origin", source, data, parity, groups, options={"accept_carrier_risk": not parity}
    )
    origin.pack()
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.parent == Path("/"):
            break
        folder.chmod(folder.stat().st_mode | 0o055)
    target = restore(origin, home, bash)
    before, after = shipments.picture(source), shipments.picture(target)
    assert before.keys() == after.keys()
    segmented = {row.path for row in origin.shipment().rows() if row.kind == 0 and row.length < row.size}
    assert segmented
    for path, value in before.items():
        was, now = value, after[path]
        if value[0] == "file" and segmented & set(value[5]):
            was, now = value[:5], now[:5]
        assert now == was, path


def test_an_altered_pack_fails_its_sum(tmp_path):
    shipments.need("b3sum")
    source = tmp_path / "source"
    shipments.write(source / "file", b"x" * 5000)
    origin = shipments.Origin(tmp_path / "origin", source, 1, 1)
    origin.pack()
    pack = origin.packs(origin.mounts[0])[0]
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)
    done = subprocess.run(
        ["b3sum", "--check", "B3SUMS"], cwd=f"{origin.mounts[0]}/sealift", capture_output=True, check=False
    )
    assert done.returncode != 0
