"""The clinic's consultation agent; everything it knows about a patient comes through MCP."""

import os

# LangGraph reads this once, when it is first imported: loading a crafted checkpoint ran code without it.
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

__version__ = "0.1.0"
