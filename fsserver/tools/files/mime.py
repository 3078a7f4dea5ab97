"""What kind of contents a file's name stands for, as MIME types. Pure: no file of the machine's is asked.

Python's ``mimetypes`` reads the machine's own tables first: answers would differ from host to host, and a confined
server may not read them.
"""

from __future__ import annotations

import posixpath
from typing import Final

DIRECTORY: Final = "inode/directory"
BYTES: Final = "application/octet-stream"
TEXT: Final = "text/plain"

# Where IANA has a type it is that one, else what clients know.
_TEXTS: Final = {
    ".bash": "application/x-sh",
    ".c": "text/x-c",
    ".cc": "text/x-c++",
    ".cpp": "text/x-c++",
    ".css": "text/css",
    ".csv": "text/csv",
    ".diff": "text/x-diff",
    ".go": "text/x-go",
    ".h": "text/x-c",
    ".hpp": "text/x-c++",
    ".htm": "text/html",
    ".html": "text/html",
    ".ics": "text/calendar",
    ".ipynb": "application/x-ipynb+json",
    ".java": "text/x-java",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".jsx": "text/jsx",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".patch": "text/x-diff",
    ".py": "text/x-python",
    ".rs": "text/x-rust",
    ".rst": "text/x-rst",
    ".sh": "application/x-sh",
    ".sql": "application/sql",
    ".svg": "image/svg+xml",
    ".tex": "text/x-tex",
    ".toml": "application/toml",
    ".ts": "text/x-typescript",
    ".tsv": "text/tab-separated-values",
    ".tsx": "text/tsx",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_BINARIES: Final = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".bz2": "application/x-bzip2",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".flac": "audio/flac",
    ".gif": "image/gif",
    ".gz": "application/gzip",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".sqlite": "application/vnd.sqlite3",
    ".tar": "application/x-tar",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xz": "application/x-xz",
    ".zip": "application/zip",
}


def text_type(name: str) -> str:
    """Of a file that reads as text, whatever its name promises."""
    return _TEXTS.get(_ending(name), TEXT)


def binary_type(name: str) -> str:
    """Of a file that is handed out as bytes."""
    return _BINARIES.get(_ending(name), BYTES)


def _ending(name: str) -> str:
    return posixpath.splitext(name)[1].lower()
