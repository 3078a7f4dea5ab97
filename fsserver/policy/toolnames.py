"""The tools that a profile can name. `tools.registry` has the tools themselves; a test holds both lists together."""

from __future__ import annotations

from typing import Final

TOOL_NAMES: Final = (
    "read_text_file",
    "read_file",
    "read_media_file",
    "read_multiple_files",
    "write_file",
    "edit_file",
    "create_directory",
    "list_directory",
    "list_directory_with_sizes",
    "directory_tree",
    "move_file",
    "copy_file",
    "delete_file",
    "search_files",
    "search_content",
    "get_file_info",
    "list_allowed_directories",
    "run_command",
    "run_pipeline",
    "start_process",
    "read_process",
    "write_process",
    "stop_process",
    "list_processes",
    "describe_policy",
)
