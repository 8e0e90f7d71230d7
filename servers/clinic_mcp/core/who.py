"""Who runs a command: what the audit log calls the operator."""

from __future__ import annotations

import getpass
import os


def operator_name() -> str:
    """The login name of whoever runs this process; where nobody knows a name for them, `uid-` and the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return f"uid-{os.getuid()}"
