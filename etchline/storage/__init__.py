"""Files on disk and objects in S3 behind one small interface; locations are paths or `s3://bucket/key`."""

from etchline.storage.files import atomic_path, files_below, is_temporary, staged, write_bytes, write_text
from etchline.storage.folders import download_folder, publish_folder, upload_folder
from etchline.storage.locations import S3Uri, is_s3, local_folder, mirrored, name_of, parse_uri
from etchline.storage.store import Store, open_store
from etchline.storage.stored_file import StoredFile

__all__ = [
    "S3Uri",
    "Store",
    "StoredFile",
    "atomic_path",
    "download_folder",
    "files_below",
    "is_s3",
    "is_temporary",
    "local_folder",
    "mirrored",
    "name_of",
    "open_store",
    "parse_uri",
    "publish_folder",
    "staged",
    "upload_folder",
    "write_bytes",
    "write_text",
]
