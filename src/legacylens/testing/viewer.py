"""A stand-in for the survey's viewer: an HTTP server that answers as it does, faults included.

Start one with `viewer_server`; it listens on this machine only::

    with viewer_server(Sky(), FaultPlan(rate=0.1)) as viewer:
        fetch_cutouts(targets, "out", ServiceConfig(url=viewer.url))
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from legacylens.testing.viewer_answers import MAX_SIZE, Question, Reply, page, reply_to, text, understand
from legacylens.testing.viewer_faults import FaultPlan
from legacylens.testing.viewer_sky import Sky

RETRY_AFTER_S = 5
"""What a 429 asks for [s]."""

STALL_S = 600.0
"""How long a stalled answer keeps silent [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One line of the log."""

    key: str
    """Kind and position of the request."""
    kind: str
    """fits, maskbits, jpeg, psf; "" for what was no question."""
    ra: float
    """Position that was asked for [deg]."""
    dec: float
    """Position that was asked for [deg]."""
    fault: str
    """What went wrong on purpose, "" for nothing."""
    status: int
    """Status that was sent, 0 for none."""
    is_whole: bool
    """Whether the whole answer was handed to the network."""


class ViewerServer(ThreadingHTTPServer):
    """The stand-in.

    Parameters
    ----------
    sky
        What it shows.
    faults
        What goes wrong.
    max_size
        Sides are clipped to this [pixel].
    time_scale
        Seconds that a second of a stall takes.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, sky: Sky, faults: FaultPlan, max_size: int = MAX_SIZE, time_scale: float = 1.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sky, self.faults, self.max_size, self.time_scale = sky, faults, max_size, time_scale
        self.closing = threading.Event()
        self.log: list[Served] = []

    @property
    def url(self) -> str:
        """Base address of the service."""
        return f"http://127.0.0.1:{self.server_address[1]}/viewer/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about clients that hang up: killing them is part of the play."""


@contextlib.contextmanager
def viewer_server(
    sky: Sky | None = None, faults: FaultPlan | None = None, *, max_size: int = MAX_SIZE, time_scale: float = 1.0
) -> Iterator[ViewerServer]:
    """Run a stand-in in threads of this process while the block runs."""
    server = ViewerServer(sky or Sky(), faults or FaultPlan(), max_size, time_scale)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ViewerServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
        """Say nothing; `ViewerServer.log` has it."""

    def do_GET(self) -> None:
        """Answer a request, or spoil it."""
        question = understand(self.path, self.server.max_size)
        asked = question if isinstance(question, Question) else None
        fault = self.server.faults.draw(asked.key) if asked else ""
        status, is_whole = 0, False
        try:
            status = self._answer(question, fault)
            is_whole = fault not in (
                "stall", "stall-body", "drip", "reset-body", "truncated", "truncated-silent", "truncated-seam"
            )  # fmt: skip
        finally:
            self.server.log.append(
                Served(
                    key=asked.key if asked else "",
                    kind=asked.key.split()[0] if asked else "",
                    ra=asked.ra if asked else float("nan"),
                    dec=asked.dec if asked else float("nan"),
                    fault=fault,
                    status=status,
                    is_whole=is_whole,
                )
            )

    def _answer(self, question: Question | Reply, fault: str) -> int:
        """Send what the fault makes of the answer; return its status, 0 if there is none."""
        if fault.startswith("rate-limited"):
            return self._send(text(429, "Too Many Requests"), self._wait_header(fault))
        if fault == "unavailable":
            return self._send(page(503, "Service Unavailable"), {"Retry-After": str(RETRY_AFTER_S)})
        simple = {
            "server-error": page(500, "Server Error (500)"),
            "bad-gateway": page(502, "502 Bad Gateway"),
            "html-200": page(200, "Maintenance"),
            "text-200": text(200, "No cutouts enabled"),
            "empty-200": text(200, ""),
        }
        if fault in simple:
            return self._send(simple[fault])
        if fault == "reset":
            return self._reset()
        if fault == "stall":
            return self._stall()
        reply = self._reply(question, fault)
        if fault in ("stall-body", "drip", "reset-body") or fault.startswith("truncated"):
            return self._send_badly(reply, fault)
        return self._send(reply)

    def _reply(self, question: Question | Reply, fault: str) -> Reply:
        if isinstance(question, Reply):
            return question
        heard: Question | Reply = question
        if fault in ("default-bands", "default-layer"):
            heard = understand(self.path, self.server.max_size, drop=["bands" if fault.endswith("bands") else "layer"])
        elif fault == "clipped":
            heard = understand(self.path, max(question.width // 2, 1))
        elif fault == "neighbor":
            heard = replace(question, dec=question.dec + 0.01 * (1 if question.dec < 89 else -1))
        return heard if isinstance(heard, Reply) else reply_to(self.server.sky, heard)

    @staticmethod
    def _wait_header(fault: str) -> dict[str, str]:
        if fault == "rate-limited-silent":
            return {}
        if fault == "rate-limited-date":
            until = datetime.now(UTC) + timedelta(seconds=RETRY_AFTER_S)
            return {"Retry-After": format_datetime(until, usegmt=True)}
        return {"Retry-After": str(RETRY_AFTER_S)}

    def _head(self, reply: Reply, fields: dict[str, str]) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, reply: Reply, fields: dict[str, str] | None = None) -> int:
        self._head(reply, {"Content-Length": str(len(reply.body)), **(fields or {})})
        self.wfile.write(reply.body)
        return reply.status

    def _send_badly(self, reply: Reply, fault: str) -> int:
        self.close_connection = True
        silent = fault in ("truncated-silent", "truncated-seam")
        self._head(reply, {"Connection": "close"} if silent else {"Content-Length": str(len(reply.body))})
        middle = len(reply.body) // 2
        if fault == "truncated-seam":
            middle = max((seam for seam in reply.seams if 0 < seam <= middle), default=middle)
        elif middle in reply.seams:
            middle -= 100
        if fault == "drip":
            for place in range(0, len(reply.body), 16):
                if self.server.closing.wait(STALL_S / 60.0 * self.server.time_scale):
                    break
                self.wfile.write(reply.body[place : place + 16])
        else:
            self.wfile.write(reply.body[:middle])
            self.wfile.flush()
        if fault == "stall-body":
            self._stall()
        elif fault == "reset-body":
            self._reset()
        return reply.status

    def _stall(self) -> int:
        self.close_connection = True
        self.server.closing.wait(STALL_S * self.server.time_scale)
        return 0

    def _reset(self) -> int:
        self.close_connection = True
        # With a linger time of zero closing sends RST at once.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        return 0
