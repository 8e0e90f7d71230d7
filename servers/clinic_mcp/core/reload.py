"""Which policies are in force, and how others come into force: whole, checked, on the record, or not at all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import structlog

from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.core.errors import AuditUnavailable, Misconfigured
from clinic_mcp.core.policy import PolicySet
from clinic_mcp.core.suite import ALL_TOOLS

LOOK_EVERY = 2.0
"""Seconds between two looks at the folder; a change counts once it has not changed again for as long."""

Stamp = frozenset[tuple[str, int, int]]


class PoliciesInForce:
    """The policies that decide now, replaced in one step when their folder holds others that pass every check.

    Args:
        folder: Where they are; none means the shipped ones, which only a signal reads again.
        inputs: This server's tools with their arguments as Cedar records.

    Raises:
        Misconfigured: The policies fail a check; the server must not start.
    """

    def __init__(self, folder: Path | None, inputs: Mapping[str, str]) -> None:
        self._folder = folder
        self._inputs = inputs
        self._stamp = self._look()
        self._refused: Stamp | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._lines = structlog.get_logger().bind(part="policies")
        self.current = self._load()

    def announce(self, log: AuditLog) -> None:
        """Keep the texts of the policies in force, and say on the record that they are.

        Raises:
            AuditUnavailable: It cannot be recorded; the server must not start.
        """
        self._keep(log, self.current)
        log.append(Draft(Phase.ADMIN, "policy.loaded", uuid7(), _named(self.current)))

    def watch(self, log: AuditLog) -> None:
        """Look at the folder from time to time, and at once on SIGHUP, until `close`.

        Args:
            log: Where replacements and refused sets are recorded.
        """
        if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGHUP, lambda *_: self._wake.set())
        self._thread = threading.Thread(target=self._watch, args=(log,), name="policies", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def reload(self, log: AuditLog) -> bool | None:
        """Read the folder again; a set that fails a check, or cannot be recorded, leaves the present one in force.

        Args:
            log: Where it is recorded, either way.

        Returns:
            Whether the policies in force are the folder's; none where the log could not take it and it is worth trying
            again.
        """
        before = self.current
        try:
            candidate = self._load()
            if (candidate.digest, candidate.schema_digest) == (before.digest, before.schema_digest):
                return True
            self._keep(log, candidate)
            body = {**_named(candidate), "replaces": _named(before)["policies"]}
            log.append(Draft(Phase.ADMIN, "policy.replaced", uuid7(), body))
        except Misconfigured as bad:
            self._lines.error("policies.refused", reason=bad.message)
            self._record_refusal(log)
            return False
        except AuditUnavailable as unavailable:
            self._lines.error("policies.not_replaced", reason=unavailable.message)
            return None
        self.current = candidate  # one reference: a batch of calls sees the old ones or the new ones, never both
        self._lines.info("policies.replaced", policy_set=candidate.digest)
        return True

    def _load(self) -> PolicySet:
        candidate = PolicySet.load(self._folder)
        candidate.check_tools(self._inputs)
        candidate.check_actions(ALL_TOOLS)
        return candidate

    def _record_refusal(self, log: AuditLog) -> None:
        try:
            log.append(
                Draft(Phase.ADMIN, "policy.refused", uuid7(), {**_named(self.current), "reason": "check-failed"})
            )
        except AuditUnavailable as unavailable:
            self._lines.error("policies.refusal_unrecorded", reason=unavailable.message)

    def _watch(self, log: AuditLog) -> None:
        seen = self._stamp
        while not self._stop.is_set():
            asked = self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            if self._stop.is_set():
                return
            stamp = self._look()
            settled, seen = stamp == seen, stamp
            changed = settled and stamp not in (self._stamp, self._refused)
            if asked or changed:
                done = self.reload(log)
                if done:
                    self._stamp, self._refused = stamp, None
                elif done is False:
                    self._refused = stamp

    def _look(self) -> Stamp:
        """What the folder's files look like from outside."""
        if self._folder is None:
            return frozenset()
        found = set()
        for path in (*self._folder.glob("*.cedar"), *self._folder.glob("*.cedarschema")):
            try:
                stat = path.stat()
            except OSError:
                continue
            found.add((path.name, stat.st_mtime_ns, stat.st_size))
        return frozenset(found)

    @staticmethod
    def _keep(log: AuditLog, policies: PolicySet) -> None:
        log.keep_policies({policies.digest: policies.text, policies.schema_digest: policies.schema_text})


def _named(policies: PolicySet) -> dict[str, dict[str, str]]:
    return {"policies": {"policy_set": policies.digest, "schema": policies.schema_digest}}
