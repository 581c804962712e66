import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from typer.testing import CliRunner

from etchline.cli.app import app
from etchline.images import encode_png, write_image
from tests.segmentation.drawing import tracks
from tests.serving.asking import INFER, ask, infer_body, scan

pytestmark = pytest.mark.xdist_group("serving")
PICTURES = ("mask", "confidence", "overlay")
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Runs `etchline client` in a folder with an image a.png."""
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.png", scan())
    return lambda *arguments: CliRunner().invoke(app, ["client", *arguments])


@pytest.fixture
def other_service():
    """Yields a function that starts a web server which answers all with this."""
    servers = []

    def start(status, body):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_nobody_there(client):
    result = client("a.png", "--out", "out", "--url", NOBODY)
    assert result.exit_code == 3
    assert re.search(r"error: a\.png: no answer from http://127\.0\.0\.1:1 \(.*refused", result.stderr)


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (400, b'{"error": "no lines today"}', 2, "the service refuses it: no lines today"),
        (413, b"<html>", 2, "the service refuses it: Request Entity Too Large|Content Too Large"),
        (503, b'{"error": "busy"}', 3, "answers 503: busy"),
        (404, b"", 3, "answers 404"),
        (200, b"<html>", 3, "not that of an etchline service"),
        (200, b"{}", 3, "not that of an etchline service"),
        (200, b'{"outputs": []}', 3, "not that of an etchline service"),
        (200, b'{"outputs": [{"name": "record", "data": ["{}"]}]}', 3, "not that of an etchline service"),
        (200, b'{"outputs": [{"name": "mask", "data": ["!"]}]}', 3, "not that of an etchline service"),
    ],
)
def test_answers_that_are_none(client, other_service, status, body, code, message, tmp_path):
    result = client("a.png", "--out", "out", "--url", other_service(status, body))
    assert result.exit_code == code
    assert re.search(message, result.stderr)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--url", "ftp://x"], "--url ftp://x: give an address such as"),
        (["--url", "127.0.0.1:8080"], "give an address such as"),
        (["--url", "http://x:99999999"], "give an address such as"),
        (["--policy", "best"], "--policy best: choose one of"),
        (["--scale", "-1"], "--scale -1: must be"),
        (["--contours", "dxf"], "--contours dxf: unknown"),
        (["--timeout-s", "0"], "--timeout-s 0.0: must be"),
        (["--pixel-size-nm", "0"], "--pixel-size-nm 0.0: must be"),
    ],
)
def test_options_out_of_range(client, options, message):
    result = client("a.png", "--out", "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_good_images_are_done_first(client, service, tmp_path):
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    write_image(tmp_path / "d.png", tracks(1100, 1000))
    (tmp_path / "out").mkdir()
    (tmp_path / "e.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "out" / "e.json").write_text("[1]")
    arguments = [f"{name}.png" for name in "bcdea"]
    result = client(*arguments, "--out", "out", "--url", service.url, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["total"] == {"done": 1, "skipped": 0, "degraded": 0, "failed": 4}
    errors = result.stderr.splitlines()
    assert "b.png: is not a PNG" in errors[0]
    assert "c.png: the service refuses it: c.png: is truncated" in errors[1]
    assert (
        "d.png: the service refuses it: image: 1000 x 1100 px at scale 1 is over the service's limit"
        in errors[2]
    )
    assert "e.png: its record would overwrite out/e.json" in errors[3]
    assert (tmp_path / "out" / "e.json").read_text() == "[1]"
    assert json.loads((tmp_path / "out" / "a.json").read_text())["degraded"] is None


def test_a_fault_of_ours_costs_one_image(client, service, tmp_path, monkeypatch):
    import etchline.client as ours

    write = ours.write_answer

    def faulty(answer, item, *rest):
        if item.image.name == "a.png":
            raise ZeroDivisionError("planted")
        write(answer, item, *rest)

    monkeypatch.setattr(ours, "write_answer", faulty)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    result = client("a.png", "b.png", "--out", "out", "--url", service.url)
    assert result.exit_code == 3
    assert result.stdout.startswith("1 segmented, 1 failed: ")
    assert "error: a.png: internal error: ZeroDivisionError: planted" in result.stderr


def test_what_somebody_else_wrote_is_replaced_only_if_told(client, service, tmp_path):
    (tmp_path / "out").mkdir()
    for name, content in (("a.json", '{"sample": 7}'), ("a.gds", "their design")):
        theirs = tmp_path / "out" / name
        theirs.write_text(content)
        options = ("a.png", "--out", "out", "--url", service.url, "--contours", "gds")
        result = client(*options)
        assert result.exit_code == 2
        assert f"would overwrite out/{name}, which etchline has not written" in result.stderr
        assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
        assert theirs.read_text() == content
        assert client(*options, "--overwrite").exit_code == 0
        assert client("a.png", "--out", "out", "--url", service.url).exit_code == 0
        assert not (tmp_path / "out" / "a.gds").exists()  # no longer asked for
        for path in (tmp_path / "out").iterdir():
            path.unlink()


def test_an_image_that_is_doubtful_as_a_whole_is_told(client, service, tmp_path):
    """As `etchline segment` tells it; the answer is written all the same."""
    write_image(tmp_path / "flat.png", np.full((160, 200), 120, np.uint8))
    result = client("a.png", "flat.png", "--out", "out", "--url", service.url, "--scale", "auto")
    assert result.exit_code == 0, result.stderr
    assert "warning: flat.png: scale not known, all its cells are flagged; give --scale" in result.stderr
    assert "warning: a.png" not in result.stderr
    assert (tmp_path / "out" / "flat.json").is_file()


def test_what_the_microscope_wrote_beside_the_image_counts(client, service, tmp_path):
    text = "[SemImageFile]\nPixelSize=4.2\nDataSize=210x150\nSignalName=SE\n"
    (tmp_path / "a.txt").write_text(text)
    assert client("a.png", "--out", "out", "--url", service.url).exit_code == 0
    assert json.loads((tmp_path / "out" / "a.json").read_text())["image"]["pixel_size_nm"] == 4.2


def test_what_is_complete_is_skipped(client, service, tmp_path):
    """As `etchline segment` does; and a change of anything that the result depends on is not overlooked."""
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())

    def statuses(*options):
        result = client("a.png", "b.png", "--out", "out", "--url", service.url, "--json", *options)
        assert result.exit_code == 0, result.output
        return [image["status"] for image in json.loads(result.stdout)["images"]]

    assert statuses() == ["done", "done"]
    assert statuses() == ["skipped", "skipped"]
    result = client("a.png", "b.png", "--out", "out", "--url", service.url)
    assert result.stdout.startswith("0 segmented, 2 already complete: ")
    (tmp_path / "out" / "a_confidence.png").unlink()
    assert statuses() == ["done", "skipped"]
    write_image(tmp_path / "b.png", scan(seed=1))
    assert statuses() == ["skipped", "done"]
    assert statuses("--pixel-size-nm", "4.2") == ["done", "done"]
    assert statuses("--pixel-size-nm", "4.2", "--policy", "patch") == ["done", "done"]
    assert statuses("--pixel-size-nm", "4.2", "--policy", "patch", "--overwrite") == ["done", "done"]
    for name, change in (("a", {"degraded": "down"}), ("b", {"versions": {"etchline": "0"}})):
        path = tmp_path / "out" / f"{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert statuses("--pixel-size-nm", "4.2", "--policy", "patch") == ["done", "done"]


@pytest.fixture
def answered(client, service, tmp_path):
    """The service's true answer for a.png, and what `etchline client` made of it."""
    assert client("a.png", "--out", "out", "--url", service.url).exit_code == 0
    body = infer_body((tmp_path / "a.png").read_bytes(), [*PICTURES, "record"], name="a.png")
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    return json.loads(ask(service.url + INFER, body).body), files


def wrong_pictures():
    """Contents of a picture that cannot be the image's."""
    small = encode_png(scan()[:100])
    return [b"", b"no picture", encode_png(scan())[:200], small, b"GIF89a" + small, encode_png(scan())[:-60]]


@pytest.mark.parametrize("output", ["mask", "confidence"])
def test_pictures_that_are_not_the_images(client, other_service, answered, output, tmp_path):
    reply, files = answered
    for content in wrong_pictures():
        changed = [
            {**each, "data": [base64.b64encode(content).decode()]} if each["name"] == output else each
            for each in reply["outputs"]
        ]
        url = other_service(200, json.dumps({**reply, "outputs": changed}).encode())
        result = client("a.png", "--out", "out", "--url", url)
        assert result.exit_code == 3
        assert f"a.png: the {output} of {url} is no picture of 210 x 150 px" in result.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files


def test_an_answer_for_another_image(client, other_service, answered, tmp_path):
    reply, files = answered
    write_image(tmp_path / "a.png", scan(seed=1))
    result = client("a.png", "--out", "out", "--url", other_service(200, json.dumps(reply).encode()))
    assert result.exit_code == 3
    assert "is for another image or other options" in result.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files
