"""MCP servers for clinical agents: every call identified, decided by Cedar, recorded, then run."""

__version__ = "0.1.0"
