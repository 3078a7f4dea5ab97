"""Every verb on a target, in one place for the tools. Each lives with its reason to change:

`reading` opens, reads, lists and describes; `tree` walks and counts what is protected; `writing` makes and replaces;
`moving` renames and deletes; `quota` bounds how full a root gets.
"""

from __future__ import annotations

from fsserver.paths.entry import Entry
from fsserver.paths.moving import delete, move
from fsserver.paths.quota import check_quota
from fsserver.paths.reading import FileInfo, Identity, OpenFile, file_info, list_entries, open_file, read_all
from fsserver.paths.tree import check_tree, walk
from fsserver.paths.writing import copy_file, make_directories, write_file

__all__ = [
    "Entry",
    "FileInfo",
    "Identity",
    "OpenFile",
    "check_quota",
    "check_tree",
    "copy_file",
    "delete",
    "file_info",
    "list_entries",
    "make_directories",
    "move",
    "open_file",
    "read_all",
    "walk",
    "write_file",
]
