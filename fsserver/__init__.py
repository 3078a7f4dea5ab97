"""fsserver: a sandboxed filesystem and shell MCP server, governed by one YAML policy."""

__version__ = "0.1.0"
