"""The consultations service as its clients see it: open, show, ask, sign off, close."""

import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict

from clinic_agent.credentials import Credential
from clinic_agent.errors import AgentError, Refused, Unauthenticated, Unavailable
from clinic_agent.grants import RENEW_BEFORE, read_token, token_url


class Consultation(BaseModel):
    """What the service says about a consultation."""

    model_config = ConfigDict(extra="ignore")

    session_id: str
    patient_id: str
    status: str
    open: bool = True
    signed_off_by: str | None = None
    clarifications: list[dict[str, Any]] = []


class Consultations:
    """The service, called under one client's credential.

    Args:
        credential: the agent's own, or a clinician's.
        url: where the service listens; empty takes the host of the credential's token endpoint.
        timeout: seconds one request may take.
    """

    def __init__(self, credential: Credential, url: str = "", timeout: float = 30.0) -> None:
        self._credential = credential
        self._token_url = token_url(credential, url)
        parts = urlsplit(self._token_url)
        self.url = url.rstrip("/") or f"{parts.scheme}://{parts.netloc}"
        self._http = httpx.Client(timeout=httpx.Timeout(timeout, connect=5.0))
        self._token = ""
        self._renew_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def open(self, patient_id: str, symptoms: str) -> Consultation:
        """Open a consultation about a patient."""
        body = {"patient_id": patient_id, "symptoms": symptoms}
        return Consultation.model_validate(self._call("POST", "/consultations", body))

    def show(self, session_id: str) -> Consultation:
        """Look a consultation up."""
        return Consultation.model_validate(self._call("GET", f"/consultations/{session_id}"))

    def set_status(self, session_id: str, status: str) -> None:
        """Say where the consultation stands."""
        self._call("POST", f"/consultations/{session_id}/status", {"status": status})

    def ask(self, session_id: str, question: str) -> None:
        """Record a clinician's question to the patient."""
        self._call("POST", f"/consultations/{session_id}/clarifications", {"question": question})

    def answer(self, session_id: str, answer: str) -> None:
        """Record the patient's answer."""
        self._call("POST", f"/consultations/{session_id}/clarifications/answer", {"answer": answer})

    def sign_off(self, session_id: str, notes: str) -> str:
        """Record a clinician's diagnosis; the same again returns the same id."""
        return str(self._call("POST", f"/consultations/{session_id}/sign-off", {"notes": notes}).get("sign_off_id", ""))

    def close(self, session_id: str) -> None:
        """Close the consultation: no grant works for it from here on."""
        self._call("POST", f"/consultations/{session_id}/close", {})

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        response = self._send(method, path, body)
        if response.status_code == 401:
            self._token = ""
            response = self._send(method, path, body)
        try:
            content = response.json()
        except ValueError:
            content = {}
        if not isinstance(content, dict):
            content = {}
        if response.status_code < 300:
            return content
        sentence = str(content.get("message") or f"The consultations service answered HTTP {response.status_code}.")
        code = str(content.get("error") or "refused")
        kinds: dict[int, type[AgentError]] = {401: Unauthenticated, 503: Unavailable}
        raise kinds.get(response.status_code, Refused)(sentence, code)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        try:
            headers = {"Authorization": f"Bearer {self._own_token()}"}
            return self._http.request(method, self.url + path, json=body, headers=headers)
        except httpx.HTTPError:
            raise Unavailable(
                f"The consultations service at {self.url} cannot be reached; start it with `clinic-mcp up`"
                " or set CLINIC_CONSULTATIONS_URL."
            ) from None

    def _own_token(self) -> str:
        if not self._token or time.monotonic() >= self._renew_at:
            form = {"grant_type": "client_credentials", "audience": "consultations"}
            self._token, life = read_token(self._http.post(self._token_url, data=self._credential.authenticated(form)))
            self._renew_at = time.monotonic() + life - min(RENEW_BEFORE, life / 2)
        return self._token
