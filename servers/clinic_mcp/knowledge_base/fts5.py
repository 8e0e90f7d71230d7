"""Full-text search on SQLite: FTS5, Porter stems, quoted terms joined with OR, BM25 with title x3.

Every term is quoted, so nothing a caller writes is FTS5 syntax.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

SEARCH = text(
    """
    SELECT articles.topic, articles.content, articles.category, articles.source, articles.version, articles.reviewed
    FROM articles_fts JOIN articles ON articles.rowid = articles_fts.rowid
    WHERE articles_fts MATCH :terms AND articles.clinic_id = :clinic
    ORDER BY bm25(articles_fts, 3.0, 1.0), articles.rowid LIMIT :limit
    """
)


def expression(words: Sequence[str]) -> str:
    """The FTS5 expression for words."""
    return " OR ".join(f'"{word}"' for word in words)
