"""docs/spec/keys.md says what the code does: examples, fields, limits, problems, and a vector for every rule."""

import contextlib
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from sealift.errors import BadInput, FormatError
from sealift.formats import age, age_keys, canonical
from sealift.trade import key_sample, keys
from sealift.trade.lists import moment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "spec" / "keys.md").read_text()
VECTORS = ROOT / "tests" / "vectors" / "keys"
NAMES = sorted(path.name for path in VECTORS.iterdir())


def vector(name):
    text, _, data = (VECTORS / name).read_bytes().partition(b"\n\n")
    return dict(line.split(": ", 1) for line in text.decode().split("\n")), data


def judged(data, now):
    """What becomes of an answer file beside the vector `record_open`: "" or why it is refused."""
    before = vector("record_open")[1]
    given = [keys.Given("x", key_sample.decode_answer(data))]
    _, (outcome,) = keys.take(keys.Before(keys.decode(before), before), given, by="R", now=moment(now))
    return outcome.refused


def take(kind, head, data):
    if kind == "code":
        return key_sample.parse_code(data.decode())
    if kind == "sample":
        return key_sample.parse(data)
    if kind == "answer":
        if why := judged(data, head["now"]):
            raise FormatError(why)
        return None
    return keys.decode(data)


@pytest.mark.parametrize("name", NAMES)
def test_vectors(name):
    head, data = vector(name)
    if head["expect"] == "refused":
        with pytest.raises((BadInput, FormatError)):
            take(head["kind"], head, data)
        return
    found = take(head["kind"], head, data)
    if head["kind"] == "code":
        assert found == head["code"]
    elif head["kind"] == "sample":
        identity = age_keys.parse_identity(head["identity"])
        sealed = age.encrypt(data, [identity.recipient])
        assert key_sample.unseal(sealed, [identity]) == found
        assert key_sample.render(found) == data
    elif head["kind"] == "record":
        assert canonical.encode(found) == data
        held = keys.held(found, found.consignment_id, found.holders, moment(head["now"]))
        assert " ".join(each.kind for each in held) == head["holds"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("answer_old", "more than 30 days ago"),
        ("answer_wrong", "code is wrong"),
        ("answer_swapped", "swapped"),
        ("answer_consignment", "another consignment"),
        ("answer_challenge", "there is no challenge"),
        ("answer_name", "it names"),
        ("answer_replayed", "counts once"),
    ],
)
def test_answers_are_refused_for_what_they_are(name, why):
    head, data = vector(name)
    assert why in judged(data, head["now"])


@drawn(st.sampled_from(NAMES), st.integers(0, 1 << 16), st.integers(0, 8), st.binary(max_size=8))
def test_altered_vectors_are_taken_in_their_one_form_or_refused(name, place, cut, put):
    head, data = vector(name)
    at = place % (len(data) + 1)
    altered = data[:at] + put + data[at + cut :]
    with contextlib.suppress(BadInput, FormatError):
        if head["kind"] == "answer":
            assert canonical.encode(key_sample.decode_answer(altered)) == altered
        elif head["kind"] == "record":
            assert canonical.encode(keys.decode(altered)) == altered
        elif head["kind"] == "sample":
            assert key_sample.render(key_sample.parse(altered)) == altered
        else:
            key_sample.parse_code(altered.decode(errors="replace"))


def test_the_generator_writes_what_is_committed(tmp_path):
    spec = importlib.util.spec_from_file_location("make_keys", VECTORS.parent / "make_keys.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.main(str(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        name: (VECTORS / name).read_bytes() for name in NAMES
    }


def test_every_vector_is_named_on_the_page_and_every_name_is_a_vector():
    named = set(re.findall(r"`((?:code|sample|answer|record)(?:_[a-z_]+)?)`", PAGE)) - {"code_blake3"}
    assert named == set(NAMES)


def test_the_examples_are_vectors():
    blocks = re.findall(r"```(?:json|text)\n(.*?)```", PAGE, re.DOTALL)
    assert blocks == [vector(name)[1].decode() for name in ("sample", "answer", "record")]


def test_b3sum_gives_the_digest_of_the_record():
    if not shutil.which("b3sum"):
        pytest.skip("b3sum is not here")
    command = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)[1]
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, text=True)
    assert done.stdout.split()[0] == keys.decode(vector("record")[1]).recipients[0].challenges[0].code_blake3


@pytest.mark.parametrize(
    "kind",
    [keys.KeysRecord, keys.Recipient, keys.Challenge, keys.Pass, keys.Waiver, key_sample.KeyAnswer],
)
def test_every_field_is_on_the_page(kind):
    tables = PAGE.partition("## The answer")[2]
    for name in kind.__struct_fields__:
        assert f"`{name}`" in tables, name


def test_limits_and_problems_are_those_of_the_code():
    limits = dict(re.findall(r"^\| `(MAX_\w+)` \| (\d+) \|", PAGE, re.MULTILINE))
    for name, value in limits.items():
        assert int(value) in {getattr(module, name, None) for module in (keys, key_sample, age)}, name
    named = {name for module in (keys, key_sample) for name in vars(module) if name.startswith("MAX_")}
    assert named <= set(limits)
    for name in get_args(keys.Why):
        assert f"| `{name}` |" in PAGE
    assert f"`{keys.NAMESPACE}`" in (ROOT / "docs/spec/signatures.md").read_text()
    assert f"`{key_sample.ALPHABET}`" in PAGE
