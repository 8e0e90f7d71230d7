"""An OpenTelemetry collector of the tests' own: OTLP over HTTP, kept in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Collector:
    """What was sent to it, as bytes and decoded."""

    url: str
    received: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def raw(self) -> bytes:
        return b"".join(body for _, body in self.received)

    def spans(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and attributes of every span."""
        found = []
        for path, body in list(self.received):
            if path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        for span in scope.spans:
                            found.append((span.name, {"trace_id": span.trace_id.hex(), **_plain(span)}))
        return found

    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        """The attributes of every data point, by the metric's name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for path, body in list(self.received):
            if path == "/v1/metrics":
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in resource.scope_metrics:
                        for metric in scope.metrics:
                            points = getattr(metric, str(metric.WhichOneof("data"))).data_points
                            found.setdefault(metric.name, []).extend(_plain(point) for point in points)
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens on a port of its own."""
    made: Collector

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.received.append((self.path, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join(5)


def _plain(item: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in item.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
