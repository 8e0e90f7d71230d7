"""A log that takes no event of some kind: what a full disk or a broken table looks like from a server."""

from __future__ import annotations

from support.clinic import Clinic

_SQLITE = "CREATE TRIGGER stop_log BEFORE INSERT ON audit_events WHEN {when} BEGIN SELECT RAISE(FAIL, 'no'); END"
_POSTGRESQL = (
    "CREATE FUNCTION stop_log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
    "CREATE TRIGGER stop_log BEFORE INSERT ON audit_events FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION stop_log()"
)


def stop_log(clinic: Clinic, when: str = "TRUE") -> None:
    """Have the database refuse events.

    Args:
        clinic: Whose log.
        when: Which events, as SQL about the row `NEW`.
    """
    clinic.execute((_POSTGRESQL if clinic.url else _SQLITE).format(when=when))


def mend_log(clinic: Clinic) -> None:
    """Have it take them again."""
    clinic.execute("DROP FUNCTION stop_log() CASCADE" if clinic.url else "DROP TRIGGER stop_log")
