"""The tools that exist, in the order in which clients see them."""

from __future__ import annotations

from typing import Final

from fsserver.tools.commands.background import background_tools
from fsserver.tools.commands.describe import describe_tool
from fsserver.tools.commands.host import CommandHost
from fsserver.tools.commands.run import run_tools
from fsserver.tools.files.change import COPY_FILE, CREATE_DIRECTORY, DELETE_FILE, MOVE_FILE
from fsserver.tools.files.edit_file import EDIT_FILE
from fsserver.tools.files.info import GET_FILE_INFO, LIST_ALLOWED_DIRECTORIES
from fsserver.tools.files.line_index import LineIndex
from fsserver.tools.files.listing import LIST_DIRECTORY, LIST_DIRECTORY_WITH_SIZES
from fsserver.tools.files.media import READ_MEDIA_FILE
from fsserver.tools.files.read import read_tools
from fsserver.tools.files.read_many import READ_MULTIPLE_FILES
from fsserver.tools.files.tree import DIRECTORY_TREE
from fsserver.tools.files.write import WRITE_FILE
from fsserver.tools.registry import Registry
from fsserver.tools.search.content import content_tool
from fsserver.tools.search.engine import SearchEngine
from fsserver.tools.search.names import search_tool

_NO_ENGINE: Final = SearchEngine(None, None, 0)


def file_tools(engine: SearchEngine = _NO_ENGINE, index: LineIndex | None = None) -> Registry:
    """A registry of the tools that need nothing but roots.

    Args:
        engine: without one, searches are what a walk can do.
        index: theirs alone; None makes an empty one.
    """
    return Registry(
        (
            *read_tools(LineIndex() if index is None else index),
            READ_MEDIA_FILE,
            READ_MULTIPLE_FILES,
            WRITE_FILE,
            EDIT_FILE,
            CREATE_DIRECTORY,
            LIST_DIRECTORY,
            LIST_DIRECTORY_WITH_SIZES,
            DIRECTORY_TREE,
            MOVE_FILE,
            COPY_FILE,
            DELETE_FILE,
            search_tool(engine),
            content_tool(engine),
            GET_FILE_INFO,
            LIST_ALLOWED_DIRECTORIES,
        )
    )


def every_tool(host: CommandHost, engine: SearchEngine = _NO_ENGINE) -> Registry:
    """A registry of every tool."""
    return Registry((*file_tools(engine).tools, *run_tools(host), *background_tools(host), describe_tool(host)))
