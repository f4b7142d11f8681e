"""One way from a location to a drive, and what is no location."""

import pickle
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from sealift.drives import locations, object_client, object_faults, uploads
from sealift.drives.local import LocalDrive
from sealift.drives.object_prefix import ObjectPrefix
from sealift.drives.objects import ObjectDrive, parse
from sealift.errors import BadInput, DriveFault

KEYS = uploads.Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "", "us-east-1")


def test_a_folder_and_a_bucket(tmp_path):
    assert isinstance(locations.open_drive(str(tmp_path)), LocalDrive)
    drive = locations.open_drive("s3://bucket/some/where/")
    assert isinstance(drive, ObjectDrive)
    assert drive.mount == "s3://bucket/some/where/"
    assert drive.place.root == "some/where/sealift"
    assert parse("s3://bucket").root == "sealift"
    assert repr(pickle.loads(pickle.dumps(drive))) == repr(drive)


def test_two_names_of_one_place(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert locations.identity(str(tmp_path)) == locations.identity(str(tmp_path / "link"))
    assert locations.identity("s3://b-1/p/") == locations.identity("s3://b-1/p") != locations.identity("s3://b-1/q")
    assert locations.identity("/no/such") == "/no/such"
    assert locations.identity("https://host/p/") == locations.identity("HTTPS://Host:443/p")
    assert locations.identity("https://host/p/") != locations.identity("http://host/p/")


@pytest.mark.parametrize(
    "location",
    [
        "s3://",
        "s3:///prefix",
        "s3://b",
        "s3://bucket//x",
        "s3://bucket/a/../b",
        "s3://bucket/a\nb",
        "s3://bucket/a?b=c",
    ],
)
def test_what_names_no_bucket(location):
    with pytest.raises(BadInput, match="s3://BUCKET/PREFIX") as caught:
        locations.open_drive(location)
    assert caught.value.hint


@pytest.mark.parametrize("location", ["gs://bucket/x", "ftp://host/x", "file:///tmp"])
def test_other_schemes_are_told_apart_from_folders(location):
    with pytest.raises(BadInput, match="no location"):
        locations.open_drive(location)


def test_a_key_in_a_location_is_refused_and_not_repeated():
    with pytest.raises(BadInput) as caught:
        locations.open_drive("s3://AKIA123:hush@bucket/x")
    assert "hush" not in f"{caught.value}{caught.value.hint}"
    assert "AKIA123" not in f"{caught.value}{caught.value.hint}"


def test_a_listing_that_fails_names_what_was_listed(monkeypatch):
    obstore = pytest.importorskip("obstore")

    def refuse(*_, **__):
        raise obstore.exceptions.PermissionDeniedError("no")

    client = SimpleNamespace(native=SimpleNamespace(list=refuse), store=None)
    monkeypatch.setattr(ObjectPrefix, "client", client)
    for prefix in (ObjectPrefix("s3://bucket/x"), ObjectPrefix("s3://bucket/x", "x/sealift")):
        with pytest.raises(DriveFault, match=r"s3://bucket/x: listing (it|sealift/): "):
            next(prefix.objects())


def test_without_obstore_a_hint(monkeypatch):
    monkeypatch.setattr(object_client, "_loaded", None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(BadInput, match="not installed") as caught:
        locations.open_drive("s3://bucket/x").exists()
    assert "sealift[s3]" in caught.value.hint


def test_a_signature_is_that_of_the_example_of_the_specification():
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, GET Bucket Lifecycle."""
    url = "https://examplebucket.s3.amazonaws.com/?lifecycle="
    headers = uploads.signed("GET", url, KEYS, datetime(2013, 5, 24, tzinfo=UTC))
    assert headers["Authorization"].endswith(
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )


def test_a_store_that_lists_the_uploads_of_others_has_none_of_them_ended(monkeypatch):
    asked = []
    keys = (b"a/sealift/x&amp;y", b"b")
    listing = b"".join(b"<Upload><Key>%b</Key><UploadId>1</UploadId></Upload>" % key for key in keys)

    def ask(method, url, _keys):
        asked.append((method, url.rpartition("/")[2]))
        return listing if len(asked) == 1 else b""

    monkeypatch.setattr(uploads, "_ask", ask)
    monkeypatch.setattr(uploads, "keys_of_environment", lambda: KEYS)
    assert uploads.abort_left("bucket", "a/sealift/", "http://host") == 1
    assert [each for each in asked if each[0] == "DELETE"] == [("DELETE", "x%26y?uploadId=1")]


def test_uploads_that_cannot_be_ended_stop_nothing(monkeypatch, caplog):
    monkeypatch.setattr(uploads, "keys_of_environment", lambda: None)
    assert uploads.abort_left("bucket", "a/sealift/", "http://host") == 0
    monkeypatch.setattr(uploads, "keys_of_environment", lambda: KEYS)
    assert uploads.abort_left("bucket", "a/sealift/", "http://127.0.0.1:9") == 0
    assert "could not be ended" in caplog.text
    assert KEYS.access not in caplog.text


def test_a_panic_is_a_fault_and_ctrl_c_is_none():
    panic = type("PanicException", (BaseException,), {})
    assert "PanicException" in object_faults.trouble_of(panic("AKIA")).why
    with pytest.raises(KeyboardInterrupt):
        object_faults.trouble_of(KeyboardInterrupt())


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("status code: 403 Forbidden: <Code>SignatureDoesNotMatch</Code>", "secret key is not that"),
        ("status code: 403 Forbidden: \n", "keys are wrong, or may not"),
        ("status code: 404 Not Found: <Code>NoSuchBucket</Code>", "no such bucket"),
        ("status code: 500 x: <Code>Odd</Code>", r"the store failed \(Odd\)"),
        ("status code: 418 x", r"an error \(418\)"),
        ("Error performing PUT http://169.254.169.254/latest/api/token", "there are no keys"),
        ("something that nobody has seen", r"\(ValueError\)"),
    ],
)
def test_what_the_store_said_in_words_of_ours(said, why):
    trouble = object_faults.trouble_of(ValueError(f"{said} AKIAIOSFODNN7EXAMPLE"))
    with pytest.raises(OSError, match=why):
        raise OSError(trouble.code, trouble.why)
    assert "AKIA" not in f"{trouble.why}{trouble.hint}"
    assert trouble.hint
