"""The review page as a test uses it: a real process, and a browser that knows forms and cookies but no JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from support.clinic import Clinic
from support.servers import CALL_TIMEOUT, Process, running

FORM = re.compile(r'name="form" value="([^"]+)"')


@contextmanager
def reviewing(clinic: Clinic, **extra: str) -> Iterator[Process]:
    """The review page of a clinic."""
    with running(clinic, "audit", "review", **extra) as process:
        yield process


class Visitor:
    """Somebody at the page.

    Args:
        page: The page's process.
    """

    def __init__(self, page: Process) -> None:
        # Nothing stays open between requests, so that a test need not hang up.
        self.http = httpx.Client(base_url=page.url, timeout=CALL_TIMEOUT, headers={"Connection": "close"})

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(path, **options)

    def sign_in(self, token: str) -> httpx.Response:
        """Fill in the form."""
        form = FORM.search(self.get("/login").text)
        assert form
        return self.http.post("/login", data={"form": form[1], "token": token})

    def post(self, path: str, where: str | None = None, **fields: str) -> httpx.Response:
        """Send a form of a page, with what the page put into it."""
        form = FORM.search(self.get(where or path).text)
        assert form
        return self.http.post(path, data={"form": form[1], **fields})


def auditor(page: Process, clinic: Clinic, person: str = "auditor-tan", **claims: Any) -> Visitor:
    """An auditor who has signed in."""
    visitor = Visitor(page)
    entered = visitor.sign_in(clinic.tokens.person(person, "review", **claims))
    assert entered.status_code == 200, entered.text
    return visitor
