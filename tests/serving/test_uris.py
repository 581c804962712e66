"""Which files and objects the service fetches itself, and which it never does."""

import json
import os
import shutil

import pytest
from kserve.errors import InvalidInput
from typer.testing import CliRunner

from etchline.cli.app import app
from etchline.errors import SettingsError, StorageError
from etchline.images import encode_png
from serving.errors import Unavailable
from serving.uris import fetch_image, open_prefixes, parse_prefix
from tests.serving.asking import INFER, PREDICT, ask, scan

pytestmark = pytest.mark.xdist_group("serving")
SIDECAR = "[SemImageFile]\nPixelSize=4.2\nDataSize=210x150\nSignalName=SE\n"


@pytest.fixture
def data(tmp_path):
    """data/a.png, and beside data other files that nobody may read."""
    for name in ("data", "data2", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(name.encode())
        (tmp_path / name / "a.txt").write_text(f"text of {name}")
    return tmp_path / "data"


def fetch(uri, *prefixes, limit=100):
    return fetch_image(uri, prefixes, limit)


def test_a_file_and_what_lies_beside_it(data):
    for prefix in (data.as_uri(), f"{data.as_uri()}/", f"file://localhost{data}"):
        found = fetch(f"{data.as_uri()}/a.png", prefix)
        assert (found.name, found.data, found.sidecar) == ("a.png", b"data", b"text of data")
    (data / "a.txt").rename(data / "a.TXT")
    assert fetch(f"{data.as_uri()}/a.png", data.as_uri()).sidecar == b"text of data"
    (data / "a.TXT").write_bytes(b"x" * (2**20 + 1))  # as `etchline segment`: no record of a microscope
    assert fetch(f"{data.as_uri()}/a.png", data.as_uri()).sidecar is None


@pytest.mark.parametrize(
    "below",
    [
        "../secret/a.png",
        "%2e%2e/secret/a.png",
        "..%2Fsecret%2Fa.png",
        "%2E%2E%2fsecret/a.png",
        "x/../../secret/a.png",
        "../data2/a.png",
        "link.png",
        "folder/a.png",
        "folder/../data/../secret/a.png",
        "loop.png",
        "..",
    ],
)
def test_ways_out_of_the_prefix(data, below):
    (data / "link.png").symlink_to(data.parent / "secret" / "a.png")
    (data / "folder").symlink_to(data.parent / "secret")
    (data / "loop.png").symlink_to("loop.png")
    with pytest.raises(InvalidInput) as caught:
        fetch(f"{data.as_uri()}/{below}", data.as_uri())
    assert "secret" not in str(caught.value).replace(below, "")
    assert "not below a prefix" in str(caught.value) or below == "loop.png"


def test_twice_encoded_is_not_decoded_twice(data):
    with pytest.raises(InvalidInput, match="there is no such file"):
        fetch(f"{data.as_uri()}/%252e%252e%252fsecret/a.png", data.as_uri())


def test_a_link_inside_keeps_its_own_name_and_text(data):
    """As `etchline segment` sees it."""
    (data / "deep").mkdir()
    (data / "deep" / "b.png").symlink_to(data / "a.png")
    (data / "deep" / "b.txt").write_text("beside the link")
    found = fetch(f"{data.as_uri()}/deep/b.png", data.as_uri())
    assert (found.name, found.data, found.sidecar) == ("b.png", b"data", b"beside the link")


def test_a_text_that_is_a_link_to_elsewhere(data):
    (data / "a.txt").unlink()
    (data / "a.txt").symlink_to(data.parent / "secret" / "a.txt")
    assert fetch(f"{data.as_uri()}/a.png", data.as_uri()).sidecar is None


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("{data}/a.png?x", "no path; write"),
        ("{data}/a.png#x", "no path; write"),
        ("{data}/none.png", "there is no such file"),
        ("{data}/pipe", "there is no such file"),
        ("{data}/" + "x" * 300, "cannot be read|no such file"),
        ("{data}/" + "x" * 5000, "more than the limit of 4096"),
        ("file://elsewhere/a.png", "need file:///"),
        ("http://127.0.0.1/a.png", "need file:///"),
        ("s3://bucket/a.png", "may read nothing there"),
    ],
)
def test_what_is_no_file(data, uri, message):
    os.mkfifo(data / "pipe")
    with pytest.raises(InvalidInput, match=message):
        fetch(uri.format(data=data.as_uri()), data.as_uri())


def test_too_large(data):
    with pytest.raises(InvalidInput, match="larger than the limit of 3 bytes"):
        fetch(f"{data.as_uri()}/a.png", data.as_uri(), limit=3)


def test_objects_below_a_prefix(s3):
    s3.put("scans/m2/a.png", b"pixels")
    s3.put("scans2/a.png", b"secret")
    for prefix in (s3.uri("scans"), s3.uri("scans") + "/", f"s3://{s3.bucket}"):
        open_prefixes((prefix,), 10)
        found = fetch(s3.uri("scans/m2/a.png"), "file:///data/", prefix)
        assert (found.name, found.data, found.sidecar) == ("a.png", b"pixels", None)
    refused = [
        ("scans2/a.png", "not below a prefix"),
        ("scans", "not below a prefix"),
        ("scans/../scans2/a.png", "need s3://bucket/key"),
        ("scans/%2e%2e/scans2/a.png", "no such object"),
        ("scans/m2", "no such object"),
        ("scans/none.png", "no such object"),
    ]
    for key, message in refused:
        with pytest.raises(InvalidInput, match=message):
            fetch(s3.uri(key), s3.uri("scans"))
    with pytest.raises(InvalidInput, match="not below a prefix"):
        fetch("s3://another-bucket/scans/a.png", s3.uri("scans"))
    with pytest.raises(InvalidInput, match="larger than the limit of 5 bytes"):
        fetch(s3.uri("scans/m2/a.png"), s3.uri("scans"), limit=5)
    assert fetch(s3.uri("scans/m2/a.png"), s3.uri("scans"), limit=6).data == b"pixels"


def test_damaged_objects_and_a_server_that_is_gone(s3, monkeypatch):
    s3.put("scans/a.png", b"pixels", sha256="0" * 64)
    with pytest.raises(Unavailable, match="S3 cannot be read now") as caught:
        fetch(s3.uri("scans/a.png"), s3.uri("scans"))
    assert "sha256" not in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="S3 cannot be read now"):
        fetch(s3.uri("scans/a.png"), s3.uri("scans"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    with pytest.raises(StorageError, match="is no URL"):
        open_prefixes((s3.uri("scans"),), 10)


def test_prefixes_that_are_none():
    for prefix in ("", "data", "file:///", "file:///a/..", "s3://"):
        with pytest.raises(SettingsError, match="--uri-prefix"):
            parse_prefix(prefix)


def test_masks_and_records_are_those_of_segment(service, allowed, tmp_path):
    """With the text of the microscope, by v2 and v1; nor does a request to the service leave the prefix."""
    (allowed / "text").mkdir()
    (allowed / "text" / "a.png").write_bytes(encode_png(scan()))
    (allowed / "text" / "a.txt").write_text(SIDECAR)
    uri = (allowed / "text" / "a.png").as_uri()
    arguments = ["segment", str(allowed / "text"), "--out", str(tmp_path), "--bundle", "nano", "--jobs", "1"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    expected = json.loads((tmp_path / "a.json").read_text())
    assert expected["image"]["pixel_size_nm"] == 4.2
    reply = ask(service.url + INFER, {"inputs": [uri_tensor(uri)]})
    assert reply.record["image"] == expected["image"]
    assert reply.record["cells"] == expected["cells"]
    assert reply.output("mask") != []
    (found,) = ask(service.url + PREDICT, {"instances": [{"uri": uri}]}).json["predictions"]
    assert found["record"]["image"] == expected["image"]
    told = {"inputs": [uri_tensor(uri)], "parameters": {"microscope_text": SIDECAR.replace("4.2", "3.1")}}
    assert ask(service.url + INFER, told).record["image"]["pixel_size_nm"] == 3.1
    outside = tmp_path / "b.png"
    shutil.copy(allowed / "text" / "a.png", outside)
    (allowed / "link.png").symlink_to(outside)
    for bad in (f"{allowed.as_uri()}/link.png", f"{allowed.as_uri()}/%2e%2e/{tmp_path.name}/b.png"):
        refused = ask(service.url + INFER, {"inputs": [uri_tensor(bad)]})
        assert (refused.status, "not below a prefix" in refused.json["error"]) == (400, True)


def uri_tensor(uri):
    return {"name": "uri", "shape": [1], "datatype": "BYTES", "data": [uri]}
