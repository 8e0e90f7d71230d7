"""Arguments of a knowledge-base tool → the Cedar knowledge base."""

from __future__ import annotations

from sqlalchemy import Connection

from clinic_mcp.core.identity import Caller
from clinic_mcp.core.policy import Entity, ref
from clinic_mcp.core.tool import Target
from clinic_mcp.knowledge_base.arguments import Search


def knowledge_base(_connection: Connection, _arguments: Search, clinic_id: str, _caller: Caller) -> Target:
    """This clinic's knowledge base: one resource, no patients."""
    return Target(Entity(("KnowledgeBase", clinic_id), {"clinic": ref(("Clinic", clinic_id))}))
