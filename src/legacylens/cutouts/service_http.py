"""The wire: one request, one answer or one named trouble. The only module of cutouts that opens sockets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx

from legacylens import __version__
from legacylens.cutouts.service_pace import PaceConfig
from legacylens.errors import FileProblem

USER_AGENT = f"legacylens/{__version__} (strong-lens search; one polite client)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    """Status of HTTP; only 429 is believed."""
    headers: Mapping[str, str]
    """Header fields, names in lower case."""
    body: bytes
    """The bytes."""

    @property
    def tells_its_length(self) -> bool:
        """Whether the answer says where it ends; otherwise one that was cut short looks like a short one."""
        return "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "").lower()


class Transport(Protocol):
    """Whatever answers requests."""

    def get(self, url: str, max_bytes: int) -> Answer:
        """Return the answer, or raise `FileProblem` with reason timeout, connection, truncated or too-large."""
        ...  # pragma: no cover

    def close(self) -> None:
        """Close what is open."""
        ...  # pragma: no cover


class HttpTransport:
    """Requests over HTTP with httpx, from several threads.

    Parameters
    ----------
    pace
        Timeouts and the number of connections.
    """

    def __init__(self, pace: PaceConfig) -> None:
        scale = pace.time_scale
        self._deadline = pace.deadline_s * scale
        self._client = httpx.Client(
            headers={"User-Agent": USER_AGENT},
            timeout=httpx.Timeout(
                pace.read_timeout_s * scale, connect=pace.connect_timeout_s * scale, pool=pace.deadline_s * scale
            ),
            limits=httpx.Limits(max_connections=pace.concurrency, max_keepalive_connections=pace.concurrency),
            follow_redirects=True,
        )

    def get(self, url: str, max_bytes: int) -> Answer:
        """Return the answer to a request.

        Parameters
        ----------
        url
            The address.
        max_bytes
            More than any true answer has.

        Raises
        ------
        FileProblem
            Reason ``timeout``, ``connection``, ``truncated`` or ``too-large``.
        """
        started = time.monotonic()
        try:
            with self._client.stream("GET", url) as response:
                parts, size = [], 0
                for part in response.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    # httpx limits each silence, not their sum: an answer that trickles would never end.
                    if time.monotonic() - started > self._deadline:
                        raise _problem(url, "timeout", f"{size} bytes came within the time limit for an answer")
                    if size > max_bytes:
                        raise _problem(
                            url, "too-large", f"more than {max_bytes} bytes came, and no true answer has so many"
                        )
                return Answer(
                    status=response.status_code,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    body=b"".join(parts),
                )
        except httpx.TimeoutException as error:
            raise _problem(
                url, "timeout", f"silence for longer than the time limit ({type(error).__name__})"
            ) from error
        except httpx.RemoteProtocolError as error:
            is_short = "peer closed connection" in str(error)
            raise _problem(url, "truncated" if is_short else "connection", _said(error)) from error
        except httpx.DecodingError as error:
            raise _problem(url, "truncated", _said(error)) from error
        except httpx.TransportError as error:
            raise _problem(url, "connection", _said(error)) from error
        except (httpx.TooManyRedirects, httpx.InvalidURL) as error:
            raise _problem(url, "refused", _said(error)) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _problem(url: str, reason: str, what: str) -> FileProblem:
    remedy = {
        "timeout": "Fetch later, or with longer time limits.",
        "connection": "Check the address and the network, or fetch later.",
        "truncated": "Fetch later.",
        "too-large": "Check the address: something else than the service answers.",
        "refused": "Check the address.",
    }[reason]
    return FileProblem(url, what, remedy, reason=reason)
