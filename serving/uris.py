"""Images that the service fetches itself, from below the prefixes that its operator allows."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kserve.errors import InvalidInput


def fetch_image(uri: str, prefixes: tuple[str, ...], max_bytes: int) -> tuple[str, bytes]:
    """Name and bytes of the image at a URI.

    Args:
        uri: file:///folder/image.png.
        prefixes: it must lie below one of them, links resolved.
        max_bytes: of the image.

    Raises:
        InvalidInput: it lies elsewhere, is no readable file or too large. Which of them is not told of files
            outside of the prefixes.
    """
    path = _path(uri)
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(os.path.realpath(_path(prefix))) for prefix in prefixes):
        raise InvalidInput(
            f"uri {uri[:200]!r}: not below a prefix that this service may read "
            f"({', '.join(prefixes) or 'it has none'}); send the image itself"
        )
    try:
        if not real.is_file():
            raise InvalidInput(f"uri {uri[:200]!r}: there is no such file")
        with real.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InvalidInput(f"uri {uri[:200]!r}: cannot be read ({error.strerror})") from error
    if len(data) > max_bytes:
        raise InvalidInput(f"uri {uri[:200]!r}: larger than the limit of {max_bytes} bytes")
    return real.name, data


def _path(uri: str) -> Path:
    """The local path of a file:// URI.

    Raises:
        InvalidInput: another scheme or host, or a path that is not absolute.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidInput(f"uri {uri[:200]!r}: {error}") from error
    path = unquote(parts.path)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not path.startswith("/"):
        raise InvalidInput(f"uri {uri[:200]!r}: need file:///absolute/path")
    if "\x00" in path:
        raise InvalidInput(f"uri {uri[:200]!r}: no path")
    return Path(path)
