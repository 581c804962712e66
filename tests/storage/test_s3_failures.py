"""What goes wrong with S3 ends in one clear error and leaves no half file. Real sockets throughout."""

import contextlib
import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from etchline.errors import InputError, SettingsError, StorageError
from etchline.storage import download_folder, open_store, publish_folder, upload_folder
from etchline.storage.s3_client import s3_client
from tests.s3_server import S3, environment, free_port

SECRET, KEY_ID = "a-secret-that-nobody-may-read", "AKIATHEKEYSNAME"

Patch = pytest.MonkeyPatch


@contextlib.contextmanager
def answering(status: int, code: str) -> Iterator[str]:
    """A server that refuses every request as S3 does, repeating the key's name in its answer."""

    class Refusal(http.server.BaseHTTPRequestHandler):
        def refuse(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = (
                f"<Error><Code>{code}</Code><Message>for {KEY_ID}</Message>"
                f"<AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId></Error>"
            ).encode()
            self.send_response(status)
            self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_PUT = do_HEAD = do_POST = refuse

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def cutting(url: str, after_bytes: int, times: int = 10**9) -> Iterator[str]:
    """A proxy that drops connections whose answer is longer than `after_bytes`, the first `times` of them."""
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port or 80
    left = [times]

    def forward(client: socket.socket) -> None:
        with client, socket.create_connection((host, port)) as server:
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            sent = 0
            while data := server.recv(4096):
                if sent + len(data) > after_bytes and left[0] > 0:
                    left[0] -= 1
                    client.sendall(data[: max(0, after_bytes - sent)])
                    client.shutdown(socket.SHUT_RDWR)  # closing alone waits for the other thread's recv
                    return
                client.sendall(data)
                sent += len(data)

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def guarded(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            forward(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def variables(monkeypatch: Patch) -> Callable[[str], None]:
    """Points the environment at another server, with keys that can be recognised."""

    def point(url: str) -> None:
        for name, value in environment(url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    return point


def make(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


ACTIONS: dict[str, Callable[[str, Path], object]] = {
    "download": lambda uri, tmp: open_store(uri).download("", tmp / "to" / "x"),
    "download folder": lambda uri, tmp: download_folder(uri, tmp / "to"),
    "upload": lambda uri, tmp: open_store(uri).upload(make(tmp / "from" / "x"), ""),
    "upload folder": lambda uri, tmp: upload_folder(make(tmp / "from" / "x").parent, uri),
    "publish": lambda uri, tmp: publish_folder(make(tmp / "from" / "bundle.json").parent, uri),
    "read": lambda uri, tmp: open_store(uri).read("", 0, 3),
    "kind": lambda uri, tmp: open_store(uri).kind(),
}


def nothing_came(tmp_path: Path) -> bool:
    return not any(path.is_file() for path in (tmp_path / "to").rglob("*"))


@pytest.mark.parametrize("action", ACTIONS)
def test_wrong_keys(action: str, variables: Callable[[str], None], tmp_path: Path) -> None:
    with answering(403, "SignatureDoesNotMatch") as url:
        variables(url)
        message = r"^s3://some/p.*: access denied \(403\): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
        with pytest.raises(StorageError, match=message) as caught:
            ACTIONS[action]("s3://some/p", tmp_path)
    assert KEY_ID not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value, InputError)
    assert nothing_came(tmp_path)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "ExpiredToken", "the credentials have expired; get new ones"),
        (400, "AuthorizationHeaderMalformed", "another region; set AWS_DEFAULT_REGION"),
        (503, "SlowDown", "refuses work for now; try again later"),
        (400, "Odd", r"the server answers Odd \(400\); check the endpoint and the bucket"),
        (400, f"for {KEY_ID}!", r"the server answers error \(400\)"),
    ],
)
def test_other_answers(
    status: int, code: str, message: str, variables: Callable[[str], None], tmp_path: Path
) -> None:
    with answering(status, code) as url:
        variables(url)
        with pytest.raises(StorageError, match=f"^s3://some/x: .*{message}") as caught:
            open_store("s3://some/x").read("")
    assert KEY_ID not in str(caught.value)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_missing_bucket(action: str, s3: S3, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^s3://no-such-bucket-\w+/p.*: no such bucket; check its name"):
        ACTIONS[action](f"s3://no-such-bucket-{s3.bucket[-12:]}/p", tmp_path)
    assert nothing_came(tmp_path)


def test_a_missing_key(s3: S3, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=rf"^s3://{s3.bucket}/p: no such object; check the key"):
        open_store(s3.uri("p")).download("", tmp_path / "to" / "x")
    assert nothing_came(tmp_path)


@pytest.mark.parametrize("size", [300_000, (16 << 20) + 1])
def test_a_cut_download_leaves_nothing(
    size: int, s3: S3, variables: Callable[[str], None], monkeypatch: Patch, tmp_path: Path
) -> None:
    s3.put("p/x", b"x" * size)
    with cutting(s3.url, after_bytes=100_000) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(
            StorageError, match=r"/p/x: the connection was cut or too slow, also when tried again"
        ):
            open_store(s3.uri("p")).download("x", tmp_path / "to" / "x")
    assert nothing_came(tmp_path)


def test_a_download_that_is_cut_once_goes_on(s3: S3, monkeypatch: Patch, tmp_path: Path) -> None:
    s3.put("p/x", b"x" * 300_000)
    with cutting(s3.url, after_bytes=100_000, times=1) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        open_store(s3.uri("p")).download("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"x" * 300_000


def test_a_damaged_object(s3: S3, tmp_path: Path) -> None:
    open_store(s3.uri("p")).upload(make(tmp_path / "from" / "x", b"sound"), "x")
    s3.put("p/x", b"wrong", **s3.head("p/x")["Metadata"])
    with pytest.raises(StorageError, match=r"/p/x: damaged: its bytes are not those that were uploaded"):
        download_folder(s3.uri("p"), tmp_path / "to")
    assert nothing_came(tmp_path)


def test_an_older_file_survives_a_failed_download(s3: S3, tmp_path: Path) -> None:
    old = make(tmp_path / "x", b"old")
    s3.put("x", b"wrong", sha256="0" * 64)
    with pytest.raises(StorageError, match="damaged"):
        open_store(s3.uri("x")).download("", old)
    assert old.read_bytes() == b"old"
    assert list(tmp_path.glob("*")) == [old]


def test_an_endpoint_where_nobody_listens(variables: Callable[[str], None]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    variables(url)
    with pytest.raises(StorageError, match=rf"^s3://b1/p: {url} cannot be reached; check AWS_ENDPOINT_URL"):
        open_store("s3://b1/p").files()


def test_a_server_that_never_answers(variables: Callable[[str], None], monkeypatch: Patch) -> None:
    monkeypatch.setenv("ETCHLINE_S3_DEADLINE_S", "0.5")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "50")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        variables(f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "50")
        started = time.monotonic()
        with pytest.raises(StorageError, match="the connection was cut or too slow"):
            open_store("s3://b1/p").files()
    assert time.monotonic() - started < 5


def test_no_credentials(monkeypatch: Patch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    # The client of this process may have found some before: another endpoint makes another one.
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match="no usable credentials: set AWS_ACCESS_KEY_ID"):
        open_store("s3://b1/p").files()


def test_an_endpoint_with_a_password_is_refused_without_saying_it(monkeypatch: Patch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:{SECRET}@127.0.0.1:9")
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL: holds a user name or password") as caught:
        open_store("s3://b1/p")
    assert SECRET not in str(caught.value)


def test_an_endpoint_that_is_no_url(variables: Callable[[str], None]) -> None:
    variables("minio-9000")
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL=minio-9000 is no URL"):
        open_store("s3://b1/p")


@pytest.mark.parametrize("conflicts", [2, 10**9])
def test_a_conflict_is_not_taken_for_a_file_that_is_there(
    conflicts: int, s3: S3, monkeypatch: Patch, tmp_path: Path
) -> None:
    left, real = [conflicts], s3_client()._make_api_call

    def conflicting(operation: str, arguments: dict[str, object]) -> object:
        if operation == "PutObject" and left[0] > 0:
            left[0] -= 1
            answer = {"Error": {"Code": "ConditionalRequestConflict"}}
            raise ClientError(answer, operation)
        return real(operation, arguments)

    monkeypatch.setattr(s3_client(), "_make_api_call", conflicting)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    if conflicts == 2:
        assert open_store(s3.uri("p")).upload(make(tmp_path / "x"), "x", replace=False)
        assert s3.get("p/x") == b"x"
    else:
        with pytest.raises(StorageError, match="the server answers ConditionalRequestConflict"):
            open_store(s3.uri("p")).upload(make(tmp_path / "x"), "x", replace=False)


def test_an_endpoint_that_cannot_even_be_read(variables: Callable[[str], None]) -> None:
    variables("http://[bad")
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL: is no URL; write it like http://host:9000"):
        open_store("s3://b1/p")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "soon"])
def test_a_deadline_that_is_none(text: str, monkeypatch: Patch) -> None:
    monkeypatch.setenv("ETCHLINE_S3_DEADLINE_S", text)
    with pytest.raises(SettingsError, match=f"ETCHLINE_S3_DEADLINE_S={text}: must be a number"):
        open_store("s3://b1/p")


def test_without_boto3_the_message_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['boto3'] = None\n"
        "from etchline.storage import open_store\n"
        "open_store('s3://b1/p')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "MissingPackageError: s3://b1/p: S3 needs boto3: pip install 'etchline[s3]'" in result.stderr
