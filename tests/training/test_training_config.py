"""A configuration is read whole: every problem at once, and the form that is written is one."""

import msgspec
import pytest

from sealift.errors import BadInput
from sealift.training import config as configs
from sealift.training.template import TEMPLATE

GOOD = b"""out = "run"
[data]
drives = ["/mnt/a"]
identity = ["key.txt"]
allowed_signers = "signers"
"""


def problems_of(text):
    with pytest.raises(BadInput) as caught:
        configs.parse(text, "run.toml")
    assert caught.value.hint
    return str(caught.value)


def test_every_problem_is_named_at_once():
    said = problems_of(b"""
oot = "run"
[data]
drives = "one"
identity = []
tokens = "words"
[model]
width = 100
heads = 0
[training]
stepz = 5
lr = "fast"
warmup = -1
""")
    assert said.startswith("run.toml: 10 problems")
    for each in (
        "oot: no such key; is it out?", "out: missing", "data.drives: expected", "data.identity: expected",
        "data.allowed_signers: missing", "data.tokens: invalid enum value", "model.heads: expected",
        "training.stepz: no such key; is it training.steps?", "training.lr: expected", "training.warmup: expected",
    ):  # fmt: skip
        assert each in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (b"[model]\nwidth = 100\nheads = 7", "model.width: 7 heads do not divide 100"),
        (b"[model]\nvocabulary = 300", "model.vocabulary: 300; with"),
        (b"[training]\nlr = 0.1\nmin_lr = 0.2", "training.min_lr: 0.2 is over"),
        (b"[training]\nlr = nan", "training.lr"),
    ],
)
def test_what_does_not_go_together_is_named(more, words):
    assert words in problems_of(GOOD + more)


@pytest.mark.parametrize("text", [b"\xff", b"out = ", b"model = 3\n" + GOOD, b"#" * (configs.MAX_CONFIG + 1)])
def test_what_is_no_configuration_is_refused(text):
    problems_of(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match=r"no\.toml: no such file"):
        configs.load(str(tmp_path / "no.toml"))


def test_paths_are_as_from_the_file(tmp_path):
    (tmp_path / "run.toml").write_bytes(GOOD.replace(b"/mnt/a", b"drives/*") + b'seal = "s.seal"\n')
    made = configs.load(str(tmp_path / "run.toml"))
    assert (made.out, made.data.identity, made.data.seal) == (
        f"{tmp_path}/run",
        [f"{tmp_path}/key.txt"],
        f"{tmp_path}/s.seal",
    )
    with pytest.raises(BadInput, match=r"none of data\.drives is here"):
        made.mounts()
    for name in "ba":
        (tmp_path / "drives" / name).mkdir(parents=True)
    assert made.mounts() == [f"{tmp_path}/drives/a", f"{tmp_path}/drives/b"]


def test_a_bucket_is_a_place_of_drives_too(tmp_path):
    text = GOOD.replace(b'["/mnt/a"]', b'["s3://bucket/run7", "here"]')
    made = configs.parse(text, str(tmp_path / "run.toml"))
    assert made.mounts() == ["s3://bucket/run7"]
    (tmp_path / "here").mkdir()
    assert made.mounts() == ["s3://bucket/run7", f"{tmp_path}/here"]


def test_a_locations_file_is_a_place_of_drives_too(tmp_path):
    text = GOOD.replace(b'["/mnt/a"]', b'["fleet.toml", "https://host/d1/", "*"]')
    made = configs.parse(text, str(tmp_path / "run.toml"))
    (tmp_path / "here").mkdir()
    assert made.mounts() == ["https://host/d1/", f"{tmp_path}/here"]
    (tmp_path / "fleet.toml").write_text("what is in it shows when it is opened")
    assert made.mounts() == [f"{tmp_path}/fleet.toml", "https://host/d1/", f"{tmp_path}/here"]


def test_the_form_has_every_key_with_its_default():
    plain = configs.parse(TEMPLATE.encode(), "run.toml")
    lines = [line.removeprefix("# ") for line in TEMPLATE.splitlines() if " = " in line or line.startswith("[")]
    every = configs.parse("\n".join(lines).encode(), "run.toml")
    assert every == plain
    keys = {line.split(" = ")[0] for line in lines if not line.startswith("[")}
    assert keys == {"out"} | {name for kind in configs.TABLES.values() for name in kind.__struct_fields__}
    assert every.model == configs.Model()
    assert every.training == configs.Training()


def test_the_public_part_names_no_places():
    made = configs.parse(GOOD, "/home/run.toml")
    assert b"/" not in msgspec.json.encode(made.public())
