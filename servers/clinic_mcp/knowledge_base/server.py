"""The knowledge-base server: short articles with their sources."""

from __future__ import annotations

from clinic_mcp.core.tool import ServerTools, Work
from clinic_mcp.knowledge_base import entities, store
from clinic_mcp.knowledge_base.arguments import Search
from clinic_mcp.knowledge_base.store import Hit

SERVER = ServerTools(
    "knowledge-base",
    title="Knowledge base",
    instructions="Searches the clinic's own short articles. It knows no patients: do not put names in a query.",
)


@SERVER.tool(title="Search the knowledge base", arguments=Search, target=entities.knowledge_base)
def search_knowledge_base(work: Work, arguments: Search) -> list[Hit]:
    """Search the medical knowledge base for conditions, treatments or drug interactions. Returns up to five articles,
    best first: topic, content, category, source, version and reviewed (ISO 8601), or one note that nothing matches."""
    return store.search(work.connection, arguments.query, work.clinic_id)
