"""A client's own key, and the short assertion that proves it holds it (RFC 7523)."""

import time
import uuid
from pathlib import Path
from typing import Any

import jwt
from pydantic import BaseModel, ValidationError

from clinic_agent.errors import SettingsProblem

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFE = 60


class Credential(BaseModel):
    """What `clinic-mcp init` wrote for one client."""

    client_id: str
    agents: list[str] = []
    token_endpoint: str
    audience: str
    private_key: dict[str, Any]

    def client_assertion(self) -> str:
        """Sign a one-use statement of who is asking, good for 60 seconds."""
        now = int(time.time())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience,
            "iat": now,
            "exp": now + _ASSERTION_LIFE,
            "jti": uuid.uuid4().hex,
        }
        key = jwt.PyJWK(self.private_key, algorithm="EdDSA").key
        return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": self.private_key.get("kid")})

    def authenticated(self, form: dict[str, str]) -> dict[str, str]:
        """Return the form fields of a token request with the client's authentication added."""
        return {**form, "client_assertion_type": ASSERTION_TYPE, "client_assertion": self.client_assertion()}


def load_credential(path: Path) -> Credential:
    """Read a credential file.

    Raises:
        SettingsProblem: the file is missing, unreadable or not a credential.
    """
    try:
        credential = Credential.model_validate_json(path.read_bytes())
        jwt.PyJWK(credential.private_key, algorithm="EdDSA")
    except FileNotFoundError:
        raise SettingsProblem(
            f"There is no credential at {path}: run `clinic-mcp init`, or point CLINIC_AGENT_CREDENTIAL"
            " (for a clinician CLINIC_CLINICIAN_CREDENTIAL) at the file it wrote."
        ) from None
    except OSError as error:
        raise SettingsProblem(f"The credential at {path} cannot be read: {error.strerror}.") from None
    except (ValidationError, jwt.PyJWTError, ValueError):
        raise SettingsProblem(f"{path} is not a credential file; run `clinic-mcp init` to write one.") from None
    return credential
