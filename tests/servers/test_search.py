"""The knowledge base's search."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clinic_mcp.core.db import Database
from clinic_mcp.knowledge_base.store import LIMIT, MAX_TERMS, Hit, match_terms, search
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clinic import Clinic

NOTHING = [{"note": "No article of the knowledge base matches this query."}]


@pytest.fixture(scope="module")
def database(module_clinic: Clinic) -> Iterator[Database]:
    with module_clinic.database() as opened:
        yield opened


def find(database: Database, query: str, clinic: str = "main") -> list[Hit]:
    with database.read() as connection:
        return search(connection, query, clinic)


@pytest.mark.parametrize(
    ("query", "topic"),
    [
        ("fever", "Fever"),
        ("what should I do about a fever in adults?", "Fever"),
        ("FEVERS", "Fever"),
        ("my patient has high blood pressure and wants ibuprofen", "NSAIDs and blood pressure medicines"),
        ("chest pain going to the left arm", "Chest pain: emergency"),
        ("is metformin right for diabetes", "Type 2 diabetes"),
        ("face drooping and slurred speech", "Stroke: FAST signs"),
        ("allergic to penicillin", "Penicillin allergy"),
        ("asthma asthme", "Asthma"),
        ("sulfamethoxazole", "Sulfonamide allergy"),
    ],
)
def test_a_question_in_words_finds_its_article_first(database: Database, query: str, topic: str) -> None:
    hits = find(database, query)
    assert hits[0]["topic"] == topic
    assert len(hits) <= LIMIT
    assert set(hits[0]) == {"topic", "content", "category", "source", "version", "reviewed"}


def test_one_word_that_matches_is_enough(database: Database) -> None:
    assert find(database, "zzz qqq fever xyzzy")[0]["topic"] == "Fever"


@pytest.mark.parametrize(
    "query", ["xyzzy", "the of and", "?!", "   ", "é", "le la les", "*", '"', "-", "NEAR(", "\x00"]
)
def test_nothing_found_is_a_note_and_not_an_empty_list(database: Database, query: str) -> None:
    assert find(database, query) == NOTHING


@pytest.mark.parametrize(
    "query",
    [
        'fever" OR "x',
        "fever NOT fever",
        "topic:fever",
        "{topic content}: fever",
        "fever*",
        "^fever",
        "fever AND (",
        "NEAR(fever adults, 2)",
        "fever'; DROP TABLE articles; --",
        '"""fever',
        "fever\x00",
    ],
)
def test_full_text_syntax_in_a_query_is_words(database: Database, query: str) -> None:
    assert find(database, query)[0].get("topic") == "Fever"


@pytest.mark.parametrize("query", ["fièvre", "fie\u0300vre", "Fiévre élevée"])
def test_accents_do_no_harm(database: Database, query: str) -> None:
    assert find(database, query)


def test_an_accented_word_finds_the_plain_one(database: Database) -> None:
    assert find(database, "févèr")[0].get("topic") == "Fever"


def test_only_this_clinics_articles_are_found(database: Database) -> None:
    assert find(database, "fever", "elsewhere") == NOTHING


def test_a_long_question_is_bounded() -> None:
    assert len(match_terms(" ".join(f"word{number}" for number in range(500)))) == MAX_TERMS


def test_an_article_changed_or_removed_is_found_as_it_now_is(clinic: Clinic) -> None:
    clinic.execute("UPDATE articles SET content = 'quokka' WHERE id = 'fever'")
    clinic.execute("DELETE FROM articles WHERE id = 'asthma'")
    with clinic.database() as database:
        assert find(database, "quokka")[0]["topic"] == "Fever"
        assert find(database, "salbutamol") == NOTHING


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_answered(database: Database, query: str) -> None:
    hits = find(database, query)
    assert 1 <= len(hits) <= LIMIT
