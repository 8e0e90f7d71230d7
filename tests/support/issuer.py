"""A small OpenID issuer: keys of several algorithms, a JWK Set over HTTP, and every way that can go wrong.

It stands in for a clinic's provider where a test needs one that misbehaves; `tests/oidc` has a real one.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from support.encoding import b64, part

Json = dict[str, Any]
PATIENCE = 20.0
"""Seconds a slow answer waits at most to be let go."""
GENERATE = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


class Key:
    """A signing key of the issuer."""

    def __init__(self, algorithm: str, kid: str | None = None, private: Any = None) -> None:
        self.algorithm = algorithm
        self.kid = kid or f"{algorithm}-{secrets.token_hex(4)}"
        self.private = private or GENERATE[algorithm]()

    @property
    def public(self) -> Json:
        """The public half as a JWK, as the set has it."""
        document: Json = self._method.to_jwk(self.private.public_key(), as_dict=True)
        document.pop("key_ops", None)
        return {**document, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def sign(self, claims: Any, **headers: Any) -> str:
        """A compact JWT over any JSON; a header of `...` is left out."""
        head = {"alg": self.algorithm, "typ": "at+jwt", "kid": self.kid, **headers}
        signed = f"{part({name: value for name, value in head.items() if value is not ...})}.{part(claims)}"
        return f"{signed}.{b64(self._method.sign(signed.encode(), self.private))}"

    @property
    def _method(self) -> Any:
        return jwt.get_algorithm_by_name(self.algorithm)


class Issuer:
    """A provider on loopback.

    Args:
        algorithm: What its access tokens are signed with.
    """

    def __init__(self, algorithm: str = "RS256") -> None:
        self.algorithm = algorithm
        self.key = Key(algorithm)
        self.rotated = self.key
        self.documents: list[Json] = [self.key.public]
        self.answer = "keys"
        self.requests: list[str] = []
        self.let_go = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def jwks_uri(self) -> str:
        return f"{self.url}/keys"

    def start(self) -> None:
        """Listen, after a pause on the same port."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests.append(self.path)
                with suppress(OSError):
                    issuer.respond(self)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Go away: nobody listens any more."""
        self.let_go.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        status, headers, body = 200, {}, json.dumps({"keys": self.documents}).encode()
        if self.answer == "slow":
            self.let_go.wait(PATIENCE)
        elif self.answer == "error":
            status = 500
        elif self.answer == "redirect":
            status, headers = 302, {"Location": f"{self.url}/elsewhere"}
        elif self.answer == "huge":
            body = json.dumps({"keys": self.documents, "x": "x" * 600_000}).encode()
        elif self.answer == "not json":
            body = b"<html>sign in</html>"
        elif self.answer == "a list":
            body = b"[]"
        elif self.answer == "compressed":
            import gzip

            headers, body = {"Content-Encoding": "gzip"}, gzip.compress(body)
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def rotate(self, *, keep_old: bool = False) -> Key:
        """Sign with a new key; the old one leaves the set unless it is kept."""
        self.rotated, self.key = self.key, Key(self.algorithm)
        self.documents = [self.key.public, *([self.rotated.public] if keep_old else [])]
        return self.rotated

    def claims(self, audience: str, person: str = "dr-osei", **changes: Any) -> Json:
        """An access token's claims (RFC 9068); a change to `...` leaves the claim out."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            "jti": secrets.token_urlsafe(12),
            "sub": person,
            "client_id": "clinic-portal",
            "groups": ["doctors"],
            "scope": "openid clinic",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not ...}

    def token(self, audience: str, person: str = "dr-osei", **changes: Any) -> str:
        return self.key.sign(self.claims(audience, person, **changes))

    def entry(self, **changes: Any) -> Json:
        """Its `[[provider]]` in a providers' file; a change to `...` leaves the field out."""
        fields = {
            "issuer": self.url,
            "jwks_uri": self.jwks_uri,
            "algorithm": self.algorithm,
            "roles_claim": "groups",
            "roles": {"doctors": "physician", "nurses": "nurse", "patients": "patient", "audit": "auditor"},
            "patient": "patient_id",
            **changes,
        }
        return {name: value for name, value in fields.items() if value is not ...}


def write_providers(path: Path, *entries: Json) -> Path:
    """A providers' file: scalars and lists first, tables after, as TOML wants it. JSON's notation serves for values."""
    lines: list[str] = []
    for entry in entries:
        lines.append("[[provider]]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in entry.items() if not isinstance(value, dict)]
        for name, table in entry.items():
            if isinstance(table, dict):
                lines.append(f"[provider.{name}]")
                lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items()]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@contextmanager
def issuing(algorithm: str = "RS256") -> Iterator[Issuer]:
    """An issuer that listens, until the block ends."""
    issuer = Issuer(algorithm)
    try:
        yield issuer
    finally:
        issuer.stop()


class Trap:
    """Listens, and counts who comes: nothing that a token names may ever be asked for."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                connection.close()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
