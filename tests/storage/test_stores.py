"""What local folders and S3 do alike, file by file and folder by folder."""

import hashlib
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from etchline.errors import StorageError
from etchline.storage import (
    download_folder,
    folders,
    open_store,
    publish_folder,
    s3_new_object,
    upload_folder,
)
from etchline.storage.local_store import LocalStore
from etchline.storage.s3_client import s3_client
from tests.s3_server import ENDPOINT_VARIABLE, S3, make_bucket

PART = 16 << 20


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "store" / "place")
    server: S3 = request.getfixturevalue("s3")
    return server.uri("place")


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


FILES = {"bundle.json": b"{}", "full/weights": b"w" * 3000, "golden/µ patch.png": b"p", "empty": b""}


class TestContract:
    def test_a_folder_goes_there_and_back(self, location: str, tmp_path: Path) -> None:
        store = open_store(location)
        assert (store.kind(), store.files()) == ("nothing", [])
        upload_folder(write(tmp_path / "a", FILES), location)
        assert store.kind() == "folder"
        assert [(f.name, f.bytes) for f in store.files()] == sorted((n, len(d)) for n, d in FILES.items())
        names = download_folder(location, tmp_path / "b")
        assert sorted(names) == sorted(FILES)
        assert tree(tmp_path / "b") == FILES

    def test_one_file(self, location: str, tmp_path: Path) -> None:
        data = bytes(range(200))
        (tmp_path / "x").write_bytes(data)
        file = open_store(f"{location}/x.bin")
        assert file.sha256("") is None
        file.upload(tmp_path / "x", "")
        assert file.kind() == "file"
        assert file.sha256("") == hashlib.sha256(data).hexdigest()
        file.download("", tmp_path / "new" / "y")
        assert (tmp_path / "new" / "y").read_bytes() == data

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, None, b"0123456789"),
            (3, 4, b"3456"),
            (8, 10, b"89"),
            (10, 2, b""),
            (0, 0, b""),
            (9, None, b"9"),
        ],
    )
    def test_ranged_reads(
        self, location: str, tmp_path: Path, start: int, length: int | None, expected: bytes
    ) -> None:
        upload_folder(write(tmp_path / "a", {"digits": b"0123456789"}), location)
        assert open_store(location).read("digits", start, length) == expected

    def test_versions_tell_contents_apart(self, location: str, tmp_path: Path) -> None:
        store = open_store(location)
        upload_folder(write(tmp_path / "a", {"x": b"1"}), location)
        first = store.files()[0].version
        upload_folder(write(tmp_path / "a", {"x": b"2"}), location)
        assert store.files()[0].version != first

    def test_what_is_there_is_not_replaced_unless_wanted(self, location: str, tmp_path: Path) -> None:
        store = open_store(location)
        write(tmp_path, {"one": b"1", "two": b"2"})
        assert store.upload(tmp_path / "one", "x", replace=False)
        assert not store.upload(tmp_path / "two", "x", replace=False)
        assert store.read("x") == b"1"
        assert store.upload(tmp_path / "two", "x")
        assert store.read("x") == b"2"

    def test_nothing_to_download_is_an_error(self, location: str, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"place: nothing is there; check the bucket and the prefix"):
            download_folder(location, tmp_path / "b")
        with pytest.raises(StorageError, match=r"place/x: (no such object|cannot be read).*; check the"):
            open_store(location).download("x", tmp_path / "b" / "x")
        assert not list((tmp_path / "b").iterdir())

    def test_a_file_that_is_gone_cannot_be_uploaded(self, location: str, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"gone: cannot be read \(No such file or directory\)"):
            open_store(location).upload(tmp_path / "gone", "x")


class TestPublishing:
    def test_the_manifest_comes_last(self, location: str, tmp_path: Path) -> None:
        folder = write(tmp_path / "a", FILES)
        store = open_store(location)

        def watch(names, total):
            assert total == len(FILES) - 1
            for name in names:
                assert "bundle.json" not in {file.name for file in store.files()}
                # A disk has all of it or nothing.
                assert store.kind() == "nothing" or not isinstance(store, LocalStore)
                yield name

        publish_folder(folder, location, track=watch)
        assert {file.name for file in store.files()} == set(FILES)

    def test_the_same_content_again_succeeds(self, location: str, tmp_path: Path) -> None:
        folder = write(tmp_path / "a", FILES)
        publish_folder(folder, location)
        before = {file.name: file.version for file in open_store(location).files()}
        publish_folder(folder, location)
        assert {file.name: file.version for file in open_store(location).files()} == before

    def test_other_content_is_refused_and_nothing_changes(self, location: str, tmp_path: Path) -> None:
        publish_folder(write(tmp_path / "a", FILES), location)
        other = write(tmp_path / "b", {**FILES, "bundle.json": b"[]", "full/weights": b"other"})
        with pytest.raises(StorageError, match=r"place: holds other content already \(bundle\.json\)"):
            publish_folder(other, location)
        download_folder(location, tmp_path / "c")
        assert tree(tmp_path / "c") == FILES

    def test_an_interrupted_publication_goes_on(self, location: str, tmp_path: Path) -> None:
        folder = write(tmp_path / "a", FILES)
        upload_folder(folder, location, names=["empty", "full/weights"])
        publish_folder(folder, location)
        assert len(open_store(location).files()) == len(FILES)

    def test_leftovers_of_another_one_are_refused(self, location: str, tmp_path: Path) -> None:
        folder = write(tmp_path / "a", FILES)
        upload_folder(write(tmp_path / "b", {"patch/weights": b""}), location)
        with pytest.raises(StorageError, match=r"holds other content already \(patch/weights\)"):
            publish_folder(folder, location)
        assert [file.name for file in open_store(location).files()] == ["patch/weights"]

    def test_a_folder_without_manifest_is_refused(self, location: str, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"a: has no bundle\.json"):
            publish_folder(write(tmp_path / "a", {"x": b""}), location)
        assert open_store(location).kind() == "nothing"

    def test_of_two_at_once_one_wins(self, location: str, tmp_path: Path) -> None:
        """The other one writes its manifest between our last look and our put."""
        ours, theirs = (write(tmp_path / name, {"bundle.json": name.encode()}) for name in ("ours", "theirs"))

        def meanwhile(names, total):
            upload_folder(theirs, location)
            return names

        with pytest.raises(StorageError, match=r"holds other content already \(bundle\.json\)"):
            publish_folder(ours, location, track=meanwhile)
        assert open_store(location).read("bundle.json") == b"theirs"

    def test_files_that_come_meanwhile_are_told_and_it_is_no_bundle(
        self, location: str, tmp_path: Path
    ) -> None:
        ours = write(tmp_path / "ours", FILES)
        theirs = write(tmp_path / "theirs", {"more/weights": b"theirs"})

        def meanwhile(names, total):
            upload_folder(theirs, location)
            return names

        with pytest.raises(StorageError, match=r"meanwhile \(more/weights\); without bundle\.json"):
            publish_folder(ours, location, track=meanwhile)
        assert open_store(location).sha256("bundle.json") is None
        assert open_store(location).read("more/weights") == b"theirs"

    def test_files_that_come_with_the_manifest_are_told(
        self, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = folders._put_once

        def late(store, path, name, is_there):
            real(store, path, name, is_there)
            if name == "bundle.json":
                upload_folder(write(tmp_path / "theirs", {"more/weights": b"theirs"}), location)

        monkeypatch.setattr(folders, "_put_once", late)
        upload_folder(write(tmp_path / "left", {"empty": b""}), location)  # of an interrupted publication
        with pytest.raises(StorageError, match=r"meanwhile \(more/weights\); the bundle is not accepted"):
            publish_folder(write(tmp_path / "ours", FILES), location)

    def test_two_at_once_at_one_place_are_whole_or_absent(self, location: str, tmp_path: Path) -> None:
        """Two real writers, each with a file of its own: whoever succeeds finds its own files alone there."""
        contents = {
            name: {"bundle.json": name.encode(), f"{name}/weights": b"w", "shared": name.encode()}
            for name in ("a", "b")
        }
        both = threading.Barrier(2)

        def together(names, total):
            both.wait(30)
            return names

        def publish(name: str) -> bool:
            try:
                publish_folder(write(tmp_path / name, contents[name]), location, track=together)
            except StorageError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            succeeded = [name for name, good in zip("ab", pool.map(publish, "ab"), strict=True) if good]
        download_folder(location, tmp_path / "copy")
        there = tree(tmp_path / "copy")
        assert len(succeeded) <= 1
        assert succeeded or not isinstance(open_store(location), LocalStore)
        for name in succeeded:
            assert there == contents[name]
        assert there["shared"] in (b"a", b"b")
        if not succeeded and "bundle.json" in there:  # then somebody was told to mend it
            assert len(there) > 3

    def test_a_place_named_by_a_digest_takes_only_that_content(self, location: str, tmp_path: Path) -> None:
        folder = write(tmp_path / "a", FILES)
        own, other = (hashlib.sha256(data).hexdigest() for data in (FILES["bundle.json"], b"other"))
        with pytest.raises(
            StorageError, match=rf"digest {other[:12]}\.\.\., and .*; publish it at sha256-{own}"
        ):
            publish_folder(folder, f"{location}/sha256-{other}")
        assert open_store(f"{location}/sha256-{other}").kind() == "nothing"
        publish_folder(folder, f"{location}/sha256-{own}")
        assert len(open_store(f"{location}/sha256-{own}").files()) == len(FILES)


class TestS3Alone:
    @pytest.fixture
    def small_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As S3 itself takes them: parts of 5 MiB at least, but for the last."""
        monkeypatch.setattr(s3_new_object, "MAX_SINGLE_BYTES", 5 << 20)
        monkeypatch.setattr(s3_new_object, "PART_BYTES", 5 << 20)

    def test_what_one_request_cannot_hold_is_published_in_parts(
        self, s3: S3, tmp_path: Path, small_parts: None
    ) -> None:
        data = os.urandom((10 << 20) + 1)
        files = {"bundle.json": b"{}", "full/weights": data}
        publish_folder(write(tmp_path / "a", files), s3.uri("p"))
        publish_folder(tmp_path / "a", s3.uri("p"))
        assert s3.head("p/full/weights")["ETag"].strip('"').endswith("-3")
        download_folder(s3.uri("p"), tmp_path / "b")
        assert tree(tmp_path / "b") == files
        write(tmp_path / "other", {"weights": data[::-1]})
        assert not open_store(s3.uri("p/full")).upload(
            tmp_path / "other" / "weights", "weights", replace=False
        )
        assert s3.get("p/full/weights") == data

    def test_parts_that_become_no_object_are_aborted(
        self, s3: S3, tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = s3_client()._make_api_call

        def broken(operation: str, arguments: dict[str, object]) -> object:
            if operation == "UploadPart" and arguments["PartNumber"] == 2:
                raise ClientError({"Error": {"Code": "AccessDenied"}}, operation)
            return real(operation, arguments)

        monkeypatch.setattr(s3_client(), "_make_api_call", broken)
        (tmp_path / "x").write_bytes(os.urandom((10 << 20) + 1))
        with pytest.raises(StorageError, match=r"access denied \(403\)"):
            open_store(s3.uri("p")).upload(tmp_path / "x", "x", replace=False)
        assert s3.keys() == []
        assert s3.client.list_multipart_uploads(Bucket=s3.bucket).get("Uploads", []) == []

    def test_large_files_go_in_parts(self, s3: S3, tmp_path: Path) -> None:
        data = os.urandom(PART + 1)
        upload_folder(write(tmp_path / "a", {"large": data}), s3.uri("p"))
        assert s3.head("p/large")["ETag"].strip('"').endswith("-2")
        assert s3.head("p/large")["Metadata"] == {"sha256": hashlib.sha256(data).hexdigest()}
        download_folder(s3.uri("p"), tmp_path / "b")
        assert (tmp_path / "b" / "large").read_bytes() == data

    def test_more_than_a_thousand_keys(self, s3: S3, tmp_path: Path) -> None:
        files = {f"{number:04}": b"%d" % number for number in range(1005)}
        upload_folder(write(tmp_path / "a", files), s3.uri("many"))
        s3.put("many-others/x", b"of another prefix")
        found = open_store(s3.uri("many")).files()
        assert {file.name: file.bytes for file in found} == {name: len(data) for name, data in files.items()}

    def test_objects_of_others_need_no_sha256(self, s3: S3, tmp_path: Path) -> None:
        s3.put("p/x", b"abc")
        s3.put("p/folder/", b"")
        download_folder(s3.uri("p"), tmp_path / "a")
        assert tree(tmp_path / "a") == {"x": b"abc"}
        assert open_store(s3.uri("p")).sha256("x") == hashlib.sha256(b"abc").hexdigest()

    @pytest.mark.parametrize("key", ["p/../up", "p//x", "p/" + "n" * 256])
    def test_keys_that_are_no_paths_are_refused(self, s3: S3, tmp_path: Path, key: str) -> None:
        try:
            s3.put(key, b"x")
        except ClientError as error:  # MinIO, for one, keeps objects as files itself
            pytest.skip(f"this server takes no such key: {error}")
        with pytest.raises(StorageError, match=r"the key '.*' cannot be a file's path; rename the object"):
            download_folder(s3.uri("p"), tmp_path / "a")
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "up").exists()

    def test_a_key_that_is_file_and_folder_is_refused(self, s3: S3, tmp_path: Path) -> None:
        s3.put("p/x", b"x")
        try:
            s3.put("p/x/y", b"y")
        except ClientError as error:  # as above
            pytest.skip(f"this server takes no key below another: {error}")
        with pytest.raises(StorageError, match=r"'x' is an object and a folder of 'x/y'; rename one"):
            download_folder(s3.uri("p"), tmp_path / "a")


@pytest.mark.skipif(ENDPOINT_VARIABLE in os.environ, reason="other servers know regions of their own")
def test_a_bucket_of_another_region_can_be_made(s3_url: str) -> None:
    """As the tests do it against Amazon's own server, which refuses one whose region is not told."""
    session = boto3.session.Session("testing", "testing-secret", region_name="eu-central-1")
    client = session.client("s3", endpoint_url=s3_url)
    bucket = f"etchline-test-{secrets.token_hex(6)}"
    make_bucket(client, bucket)
    assert client.get_bucket_location(Bucket=bucket)["LocationConstraint"] == "eu-central-1"
    client.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize("text", ["s3://", "s3:///key", "s3://UP/../x", "s3://b/x//y", "s3://b\n/x"])
def test_uris_that_name_nothing_are_refused(text: str) -> None:
    with pytest.raises(StorageError, match=r"names no bucket|cannot be a file's path"):
        open_store(text)
