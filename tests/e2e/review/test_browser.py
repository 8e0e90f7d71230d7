"""An auditor's errand in a real browser: Debian's Chromium, headless, against the running review page.

`CLINIC_SCREENSHOTS=1` keeps the pictures of it in docs/screenshots.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from support.audited_day import Day, spend
from support.clinic import Clinic
from support.review import reviewing
from support.servers import Process

CHROMIUM = shutil.which("chromium")
PICTURES = Path(__file__).parents[3] / "docs" / "screenshots"
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()
PATIENCE = 15_000
"""Milliseconds the browser waits for anything."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def day(module_clinic: Clinic) -> Day:
    return spend(module_clinic)


@pytest.fixture(scope="module")
def review(day: Day) -> Iterator[Process]:
    with reviewing(day.clinic) as process:
        yield process


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


class Watched:
    """A page that notes what its console said and which hosts it asked."""

    def __init__(self, browser: Browser, review: Process, **options: object) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)  # type: ignore[arg-type]
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.url = review.url

    def sign_in(self, token: str) -> None:
        self.page.goto(self.url)
        self.page.get_by_label("Access token of an auditor").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name=re.compile("Overview|Not permitted")).wait_for()

    def picture(self, name: str) -> None:
        if os.environ.get("CLINIC_SCREENSHOTS") == "1":
            PICTURES.mkdir(exist_ok=True)
            size = {"x": 0, "y": 0, "width": 1280, "height": 640}
            self.page.screenshot(path=PICTURES / f"review-{name}.png", clip=size)  # type: ignore[arg-type]

    def check(self) -> None:
        """Nothing went wrong in the browser, and it asked nobody else."""
        assert self.said == []
        assert self.hosts == {urlsplit(self.url).netloc}


def test_an_auditor_finds_who_saw_a_patient_and_why_judges_a_broken_glass_and_takes_a_csv_along(
    browser: Browser, review: Process, day: Day, tmp_path: Path
) -> None:
    watched = Watched(browser, review)
    page = watched.page
    watched.sign_in(day.clinic.tokens.person("auditor-tan", "review"))
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(page.get_by_label("Integrity of the log")).to_contain_text("The log is whole")
    expect(page.get_by_role("img", name="Calls 9 calls in this period")).to_be_visible()
    watched.picture("overview")

    page.get_by_role("link", name="Calls", exact=True).click()
    watched.picture("calls")
    page.get_by_label("Patient", exact=True).fill("P002")
    with page.expect_response(lambda answer: "/calls?patient=P002" in answer.url) as answered:
        page.get_by_role("button", name="Filter").click()
    assert answered.value.request.headers.get("hx-request") == "true", "without loading the page anew"
    expect(page.get_by_role("status")).to_have_text("5 calls")
    assert "patient=P002" in page.url
    expect(page.get_by_role("link", name="Print view")).to_have_attribute("href", re.compile("patient=P002.*print=1"))
    expect(page.get_by_role("row").filter(has_text="find_patients")).to_contain_text("dr-osei")

    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download all of them as CSV").click()
    file = tmp_path / "calls.csv"
    downloading.value.save_as(file)
    with file.open(encoding="utf-8", newline="") as lines:
        assert [line["patients"] for line in csv.DictReader(lines)] == ["P002"] * 5

    refused = page.get_by_role("row").filter(has_text="no-other-patient")
    refused.get_by_role("link", name="Call of").click()
    expect(page.get_by_role("heading", name="Forbidden by no-other-patient")).to_be_visible()
    expect(page.get_by_label("Text of no-other-patient")).to_contain_text("context.bound.patient != resource")
    watched.picture("why")

    page.get_by_role("link", name="Queue").click()
    watched.picture("queue")
    page.get_by_role("link", name="Open break-glass").click()
    page.get_by_label("Justified", exact=True).check()
    page.get_by_label("Why", exact=True).fill("The ambulance's protocol names the patient")
    page.get_by_role("button", name="Give the verdict").click()
    expect(page.locator(".facts")).to_contain_text("✔ justified by Wei Ling Tan")
    expect(page.get_by_role("button", name="Give the verdict")).to_have_count(0)

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    watched.check()
    watched.context.close()


def test_a_clinician_is_turned_away_in_words(browser: Browser, review: Process, day: Day) -> None:
    watched = Watched(browser, review)
    watched.sign_in(day.clinic.tokens.person("dr-osei", "review"))
    expect(watched.page.get_by_role("heading", name="Not permitted")).to_be_visible()
    expect(watched.page.get_by_role("table")).to_have_count(0)
    watched.page.goto(f"{watched.url}/calls")
    expect(watched.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert watched.hosts == {urlsplit(watched.url).netloc}
    assert [line for line in watched.said if "403" not in line] == [], "the browser notes the refusal itself"
    watched.context.close()


def test_everything_is_reached_by_the_keyboard(browser: Browser, review: Process, day: Day) -> None:
    watched = Watched(browser, review)
    page = watched.page
    page.goto(watched.url)
    page.keyboard.press("Tab")
    page.keyboard.type(day.clinic.tokens.person("auditor-tan", "review"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.goto(f"{watched.url}/calls")
    wanted = page.locator("a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']").count()
    reached = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => { const e = document.activeElement; const all = [...document.querySelectorAll('*')];"
            " return [e === document.body ? 0 : all.indexOf(e), getComputedStyle(e).outlineStyle]; }"
        )
        if focused[0]:  # the body has the focus past the last one
            assert focused[1] != "none", "what has the focus shows it"
            reached.add(focused[0])
    assert len(reached) == wanted
    watched.check()
    watched.context.close()


def test_it_works_without_javascript(browser: Browser, review: Process, day: Day) -> None:
    watched = Watched(browser, review, java_script_enabled=False)
    page = watched.page
    watched.sign_in(day.clinic.tokens.person("auditor-tan", "review"))
    page.goto(f"{watched.url}/calls")
    page.get_by_label("Patient", exact=True).fill("P002")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("status")).to_have_text("5 calls")
    page.get_by_label("Patient", exact=True).fill("Alice")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("alert")).to_contain_text("A patient's id is P and digits")
    watched.context.close()


def test_a_wrong_filter_says_so_without_a_new_page(browser: Browser, review: Process, day: Day) -> None:
    watched = Watched(browser, review)
    page = watched.page
    watched.sign_in(day.clinic.tokens.person("auditor-tan", "review"))
    page.goto(f"{watched.url}/calls")
    page.get_by_label("From", exact=True).fill("yesterday")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("alert")).to_contain_text("A time is a date")
    expect(page.get_by_label("From", exact=True)).to_have_value("yesterday")
    watched.context.close()


def test_a_script_that_got_into_a_page_would_not_run(browser: Browser, review: Process, day: Day) -> None:
    """The policy holds in the browser, not only in a header: a page with a script of its own, served as ours."""
    watched = Watched(browser, review)

    def planted(route: Route) -> None:
        answer = route.fetch()
        body = answer.text().replace(
            "</main>", "<script>document.title = 'owned'</script><img src='https://evil.example/x'></main>"
        )
        route.fulfill(response=answer, body=body)

    watched.page.route("**/login", planted)
    watched.page.goto(f"{watched.url}/login")
    expect(watched.page).not_to_have_title("owned")
    assert sum("Content Security Policy" in line for line in watched.said) == 2
    watched.context.close()


def test_a_narrow_screen_scrolls_tables_and_not_the_page(browser: Browser, review: Process, day: Day) -> None:
    watched = Watched(browser, review)
    watched.page.set_viewport_size({"width": 360, "height": 740})
    watched.sign_in(day.clinic.tokens.person("auditor-tan", "review"))
    for path in ("/", "/calls", "/queue", "/callers", "/integrity"):
        watched.page.goto(f"{watched.url}{path}")
        wide = watched.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, path
    watched.check()
    watched.context.close()
