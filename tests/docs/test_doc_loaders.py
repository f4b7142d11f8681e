"""docs/guides/loaders.md, example by example: each in a process of its own, over a real shipment and a real mount."""

import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
import shipments
from doc_pages import ROOT, blocks, environment
from mounted import mounted, need_fuse

PAGE = (ROOT / "docs/guides/loaders.md").read_text()
ROWS, IMAGES, TEXTS = 3000, 6, 40
ELSEWHERE = {  # packages that CI does not install, and why
    "streaming": "needs torchvision, of which there is no build for every torch",
}


def examples(title):
    """The Python blocks of a section."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def fill(source):
    """Something for each loader."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    (source / "table").mkdir(parents=True)
    for part in range(3):
        ids = np.arange(part * ROWS // 3, (part + 1) * ROWS // 3)
        table = pa.table({"id": ids, "text": [f"row {each} " * 9 for each in ids]})
        pq.write_table(table, source / f"table/{part}.parquet", row_group_size=200)
    if importlib.util.find_spec("PIL"):
        from PIL import Image

        for number in range(IMAGES):
            path = source / "images" / ("cat", "dog")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (10 + number, 8), (number, 0, 0)).save(path)
    (source / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(source / f"shards/{shard}.tar", "w") as tar:
            for number in range(TEXTS // 2):
                for name, data in ((f"{shard}{number:03d}.txt", b"text " * 50), (f"{shard}{number:03d}.cls", b"3")):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
    for number in range(TEXTS):
        shipments.write(source / f"texts/{number:02d}.txt", b"x" * (100 + number))
    if importable("streaming"):
        from streaming import MDSWriter

        with MDSWriter(out=str(source / "mds"), columns={"id": "int"}) as writer:
            for number in range(100):
                writer.write({"id": number})


def importable(package):
    """Whether a package imports, here; asked in another process."""
    return not subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True, check=False).returncode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which the page's reader stands: drives, keys, seal, and the mounted corpus."""
    need_fuse()
    base = tmp_path_factory.mktemp("loaders")
    fill(base / "source")
    origin = shipments.Origin(base / "origin", base / "source", 2, 1)
    origin.pack()
    here = base / "here"
    with mounted(origin, here / "corpus"):
        (here / "drives").mkdir()
        for mount in origin.mounts[1:]:  # one of them has not come
            (here / "drives" / os.path.basename(mount)).symlink_to(mount)
        for name, kept in (("identity.txt", "identity"), ("signers", "allowed"), ("sent.seal", "sent.seal")):
            shutil.copy(origin.root / kept, here / name)
        yield here


def need_package(*packages):
    for package in packages:
        if package in ELSEWHERE and not importable(package):
            pytest.skip(f"{package} does not import here; {ELSEWHERE[package]}")
        if importlib.util.find_spec(package) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{package} must be installed where CI is set: pip install 'sealift[loaders]'")
            pytest.skip(f"{package} is not installed: pip install 'sealift[loaders]'")


def said(folder, title, number=0, **settings):
    """What the example prints last, behind the page's common part."""
    common = re.search(r"^```python\n(import glob\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
    return run(folder, common + examples(title)[number], **settings)


def run(folder, script, **settings):
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    settings |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder, env={**environment(home), **settings}, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout.splitlines()[-1]


SUM = ROWS * (ROWS - 1) // 2


def test_pyarrow_dataset(folder):
    assert said(folder, "pyarrow.dataset") == f"{ROWS} 10"


def test_polars(folder):
    need_package("polars")
    assert said(folder, "Polars") == f"({ROWS}, {SUM})"


def test_duckdb(folder):
    need_package("duckdb")
    assert said(folder, "DuckDB") == f"[({ROWS}, {SUM})]"


@pytest.mark.long
def test_datasets_parquet(folder):
    need_package("datasets")
    assert said(folder, "Hugging Face datasets", 0) == str(SUM)


@pytest.mark.long
def test_datasets_imagefolder(folder):
    need_package("datasets", "PIL")
    assert said(folder, "Hugging Face datasets", 1) == f"['cat', 'dog'] {sum(10 + n for n in range(IMAGES))}"


@pytest.mark.long
@pytest.mark.parametrize("way", [0, 1], ids=["fsspec", "mount"])
def test_webdataset(folder, way):
    need_package("webdataset", "torch")
    assert said(folder, "WebDataset", way) == str(TEXTS)


def test_torch_dataloader(folder):
    need_package("torch")
    assert said(folder, "PyTorch DataLoader") == str(sum(100 + n for n in range(TEXTS)))


@pytest.mark.long
def test_ray_data(folder):
    need_package("ray")
    with tempfile.TemporaryDirectory(
        prefix="ray-", ignore_cleanup_errors=True
    ) as short:  # names of its sockets have at most 107 bytes
        assert said(folder, "Ray Data", TMPDIR=short) == f"{ROWS} {SUM}"


def test_mosaicml_streaming(folder):
    need_package("streaming")
    assert said(folder, "MosaicML Streaming") == str(99 * 50)


def test_the_example_of_the_guide_for_engineers(folder):
    (script,) = blocks(ROOT / "docs/guides/ml-engineer.md", "python")
    drives = sorted(map(str, (folder / "drives").iterdir()))
    for theirs, ours in {
        '["/mnt/d1", "/mnt/d2"]': repr(drives),
        "key.txt": "identity.txt",
        "0123456789abcdef.seal": "sent.seal",
        '"train"': '"texts"',
        "train/0001.txt": "texts/01.txt",
        "train/0002.txt": "texts/02.txt",
    }.items():
        assert theirs in script
        script = script.replace(theirs, ours)
    found = run(
        folder, script + "\nprint(len(fs.cat(fs.ls('texts', detail=False))), fs.shipment.health().drives[0].state)"
    )
    assert found == f"{TEXTS} missing"


def test_every_example_of_the_page_is_run():
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    tested = re.findall(r'said\(folder, "([^"]+)"', Path(__file__).read_text())
    assert set(titles) == set(tested)
    assert all(
        len(examples(title)) == (2 if title in {"Hugging Face datasets", "WebDataset"} else 1) for title in titles
    )
