"""Diagnostics: one structlog configuration, on stderr, JSON when nobody is looking.

The log is for the IT team, not for the auditor: it carries event ids, codes and durations, never patient data.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure(level: str = "INFO") -> None:
    """Send structlog and the standard library's loggers to stderr (stdout belongs to the stdio transport).

    Args:
        level: Name of the lowest level shown, e.g. `INFO`.
    """
    threshold = getattr(logging, level.upper(), logging.INFO)
    # The SDK and SQLAlchemy log request bodies and rows below WARNING: those never leave the process.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s", force=True)
    pretty = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines say which part of the suite wrote them."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(part=name)
    return bound
