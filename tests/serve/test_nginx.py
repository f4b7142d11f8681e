"""The nginx configuration of the guide, in a real nginx: the same rules as `sealift serve`."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import serving
import shipments
from serving import ODD, TOKEN, files_of, first_pack

from sealift.formats import manifest as mf

GUIDE = Path(__file__).parents[2] / "docs/guides/storage-hosts.md"
CONFIGURATION = re.search(r"<!-- nginx -->\n```nginx\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)[1]


@pytest.fixture(scope="module")
def nginx(packed, tmp_path_factory):
    """nginx with that very text; folders, port and user are this test's."""
    shipments.need("nginx", "curl")
    folder = tmp_path_factory.mktemp("nginx")
    mounts = folder / "mnt"
    for number, original in enumerate(packed.origin.mounts, start=1):
        shutil.copytree(original, mounts / f"d{number}")
    tls = serving.certificates(folder / "tls")
    (folder / "tokens.conf").write_text(f'"~^Bearer {TOKEN}$" 1;\n')
    port = serving.free_port()
    text = CONFIGURATION
    for theirs, ours in {
        "/etc/nginx/sealift-tokens.conf": folder / "tokens.conf",
        "/etc/nginx/host.pem": tls[1],
        "/etc/nginx/host.key": tls[2],
        "listen 8443 ssl": f"listen 127.0.0.1:{port} ssl",
        "from=/mnt": f"from={mounts}",
        "alias /mnt/": f"alias {mounts}/",
    }.items():
        assert theirs in text
        text = text.replace(theirs, str(ours))
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/errors; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{text}\n}}\n"
    )
    process = subprocess.Popen(["nginx", "-c", folder / "nginx.conf"], stderr=subprocess.PIPE)
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    yield serving.Host(process, port, "https", tls[0], TOKEN), mounts
    process.terminate()
    process.wait(10)
    process.stderr.close()


def test_every_file_and_ranges_of_it(nginx):
    host, mounts = nginx
    for drive in ("d1", "d2", "d3"):
        for file in files_of(mounts / drive):
            whole = (mounts / drive / "sealift" / file).read_bytes()
            path = f"/{drive}/sealift/{file}"
            assert host.ask(path).body == whole
            head = host.ask(path, "HEAD")
            assert (head.status, head.headers["content-length"]) == (200, str(len(whole)))
            last = min(len(whole) - 1, 70_000)
            part = host.ask(path, Range=f"bytes=1-{last}")
            assert (part.status, part.body) == (206, whole[1 : last + 1])
            assert part.headers["content-range"] == f"bytes 1-{last}/{len(whole)}"
            assert part.headers["etag"] == head.headers["etag"]
            assert host.ask(path, Range=f"bytes={len(whole)}-").status == 416


def test_several_ranges_are_refused(nginx):
    host, mounts = nginx
    path = f"/d1/sealift/{first_pack(mounts / 'd1')}"
    for text in ("bytes=0-1,3-4", "bytes=" + ",".join(["0-"] * 300)):
        answer = host.ask(path, Range=text)
        assert answer.status == 416
        assert len(answer.body) < 1000


def test_nobody_without_the_token(nginx):
    host, _ = nginx
    for path in ("/d1/sealift/drive.json", "/", "/d1/", "/nothing"):
        for value in ("", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN.upper()}", f"Basic {TOKEN}", TOKEN):
            assert host.ask(path, Authorization=value).status == 401, (path, value)
    assert host.ask("/healthz", Authorization="").status == 200


def test_nothing_but_the_files_of_the_layout(nginx):
    host, mounts = nginx
    (mounts / "d1/secret.txt").write_text("beside")
    (mounts / "d1/sealift/secret.txt").write_text("among")
    (mounts / "d1/sealift/journal.age").write_text("ours")
    equal = {"/NAME/sealift/drive%2ejson", "/NAME/sealift//drive.json", "/NAME/sealift/./drive.json",
             "/NAME/sealift%2fdrive.json", "/NAME/sealift/seal%2fseal.json", "/NAME//sealift/drive.json",
             "//NAME/sealift/drive.json"}  # fmt: skip
    for path in filter(str.isascii, ODD):
        answer = host.ask(path.replace("NAME", "d1"))
        if path in equal and answer.status == 200:  # other spellings of a name that may be read
            assert answer.body == (mounts / "d1/sealift/drive.json").read_bytes()
            continue
        assert answer.status in {400, 404, 405}, (path, answer)
        assert not any(each in answer.body for each in (b"beside", b"among", b"root:"))
    for method in ("POST", "PUT", "DELETE", "PROPFIND"):
        assert host.ask("/d1/sealift/drive.json", method).status == 405


@pytest.mark.parametrize("what", ["link", "fifo", "folder", "linked-folder"])
def test_no_link_is_followed_and_nothing_blocks(nginx, tmp_path, what):
    host, mounts = nginx
    file = first_pack(mounts / "d3")
    target = mounts / "d3/sealift" / file
    (tmp_path / target.name).write_bytes(b"not of the drive")
    kept = tmp_path / "kept"
    moved = target.parent if what == "linked-folder" else target
    shutil.move(moved, kept)
    try:
        if what == "fifo":
            os.mkfifo(target)
        elif what == "folder":
            target.mkdir()
        else:
            moved.symlink_to(tmp_path / target.name if what == "link" else tmp_path)
        begun = time.monotonic()
        answer = host.ask(f"/d3/sealift/{file}")
        assert answer.status in {403, 404} | ({301} if what == "folder" else set()), "a reader follows no redirect"
        assert b"not of the drive" not in answer.body
        assert time.monotonic() - begun < 5
    finally:
        target.rmdir() if what == "folder" else moved.unlink()
        shutil.move(kept, moved)


def test_the_configuration_has_the_names_of_the_layout():
    pattern = re.search(r'location ~ "(.*)" \{', CONFIGURATION)[1].replace("(?<", "(?P<")
    for name in (*mf.FIXED_FILES, mf.pack_name(0, 0, 2), mf.pack_name(12_345_678, 2, 2)):
        assert re.match(pattern, f"/d1/sealift/{name}"), name
