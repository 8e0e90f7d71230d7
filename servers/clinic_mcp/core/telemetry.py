"""OpenTelemetry's exporters: off, unless the operator names a collector."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from clinic_mcp import __version__
from clinic_mcp.core.errors import Misconfigured

if TYPE_CHECKING:
    from clinic_mcp.core.settings import Settings

EXPORT_TIMEOUT_MS = 2_000
"""How long a process that stops waits for what is left to be sent."""


def configure(settings: Settings, part: str) -> Callable[[], None]:
    """Send spans and metrics to the collector in settings, if there is one.

    Args:
        settings: The operator's settings.
        part: Which part of the suite this process is.

    Returns:
        What to call at the end: sends what is left.

    Raises:
        Misconfigured: There is a collector and the extra packages are missing.
    """
    if not settings.otlp_endpoint:
        return lambda: None
    try:
        from opentelemetry import metrics, trace
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise Misconfigured(
            "CLINIC_OTLP_ENDPOINT is set and OpenTelemetry's SDK is not installed.",
            "Install it with `pip install 'clinic-mcp[otel]'`, or unset the variable.",
        ) from exc
    base = settings.otlp_endpoint.rstrip("/")
    about = Resource.create({"service.namespace": "clinic-mcp", "service.name": part, "service.version": __version__})
    tracers = TracerProvider(resource=about, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{base}/v1/traces")))
    meters = MeterProvider(
        resource=about,
        metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter(f"{base}/v1/metrics"))],
        shutdown_on_exit=False,
    )
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)

    def finish() -> None:
        tracers.force_flush(EXPORT_TIMEOUT_MS)
        meters.force_flush(EXPORT_TIMEOUT_MS)
        tracers.shutdown()
        meters.shutdown(EXPORT_TIMEOUT_MS)

    return finish
