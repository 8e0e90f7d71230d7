"""Full-text search on PostgreSQL: English stems joined with OR, ranked by BM25 with title x3 as on SQLite.

`ts_rank` knows nothing of how rare a word is, and measured worse for it (nDCG@10 .604/.688/.414 against
.693/.709/.518 on SciFact, MED, LiveQA-Med); so the rank is computed here, from what the index keeps of each article.
Formula and constants: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from sqlalchemy import text

SEARCH = text(
    """
    WITH asked AS (SELECT to_tsquery('english', :terms) AS query,
                          tsvector_to_array(to_tsvector('english', :words)) AS lexemes),
    whole AS (SELECT count(*) AS articles, avg(length(search)) AS length FROM articles WHERE clinic_id = :clinic),
    found AS (
        SELECT articles.rowid, length(articles.search) AS length, term.lexeme,
               (SELECT sum(CASE weight WHEN 'A' THEN 3.0 ELSE 1.0 END) FROM unnest(term.weights) AS weight) AS frequency
        FROM asked, articles, unnest(articles.search) AS term (lexeme, positions, weights)
        WHERE articles.search @@ asked.query AND articles.clinic_id = :clinic AND term.lexeme = ANY (asked.lexemes)),
    rarity AS (
        SELECT lexeme, ln(1 + (whole.articles - count(*) + 0.5) / (count(*) + 0.5)) AS weight
        FROM found, whole GROUP BY lexeme, whole.articles),
    ranked AS (
        SELECT found.rowid, sum(
            rarity.weight * found.frequency * 2.2
            / (found.frequency + 1.2 * (0.25 + 0.75 * found.length / whole.length))) AS score
        FROM found JOIN rarity USING (lexeme), whole GROUP BY found.rowid)
    SELECT articles.topic, articles.content, articles.category, articles.source, articles.version, articles.reviewed
    FROM ranked JOIN articles USING (rowid)
    ORDER BY ranked.score DESC, articles.rowid LIMIT :limit
    """
)


def expression(words: Sequence[str]) -> str:
    """The `tsquery` for words: each quoted, so that nothing a caller writes is an operator."""
    return " | ".join(f"'{plain(word)}'" for word in words)


def plain(word: str) -> str:
    """A word without accents, as the index keeps them."""
    apart = unicodedata.normalize("NFKD", word)
    return "".join(one for one in apart if not "\u0300" <= one <= "\u036f")
