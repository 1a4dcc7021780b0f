"""Client of a wfengine node, and the classes of three older Python programs on top of it.

One file without dependencies, for Python 3.8 and later. A node answers HTTP on its own host; where it is and its token come from the
arguments of `Client`, else from WFENGINE_NODE and WFENGINE_TOKEN, else from the defaults of a node on this host.

What an older class cannot do on a node is told once by a `CompatibilityWarning`, and the nearest thing that is true is done.
"""

import asyncio
import dataclasses
import enum
import functools
import http.client
import ipaddress
import json
import logging
import os
import re
import socket
import stat
import threading
import time
import types
import urllib.parse
import warnings
from collections import OrderedDict
from typing import Any, Dict, List, Optional

__all__ = [
    "AutoscalerStatus", "Client", "CompatibilityWarning", "GitHubRunnerAutoscaler", "MerkleClock", "P2PTask",
    "P2PWorkflowCoordinator", "P2PWorkflowDiscoveryService", "P2PWorkflowScheduler", "P2PWorkflowTools", "RunnerConfig",
    "RunnerKit", "RunnerStatus", "WfengineError", "WorkflowDefinition", "WorkflowDiscovery", "WorkflowQueue", "WorkflowStatus",
    "WorkflowTag", "WorkflowTask", "get_next_p2p_workflow", "get_p2p_scheduler_status", "get_runner_kit", "get_scheduler",
    "initialize_p2p_scheduler", "schedule_p2p_workflow",
]

DEFAULT_URL = "http://127.0.0.1:8080"
FILE_BYTES_MAX = 512 * 1024
REQUEST_BYTES_MAX = 1024 * 1024
ANSWER_BYTES_MAX = 64 * 1024 * 1024
EVENT_BYTES_MAX = 1024 * 1024
# a node gives a sign of life on a quiet stream every 15 s
STREAM_SILENCE_S = 60
_PROBLEM_BYTES_MAX = 64 * 1024
_TOKEN_BYTES_MAX = 4 * 1024
_HELD_MAX = 4096
# what a stream's error says in a word, as the status of an answer would
_STATUS_OF = {"bad_input": 400, "refused": 403, "unknown": 404, "conflict": 409, "busy": 429, "unreachable": 503}

_log = logging.getLogger("wfengine")


class WfengineError(Exception):
    """What was asked for was not done; the text says why and what to do.

    `status` is the HTTP status, 0 if no node answered. `kind` is one word: bad_input, unknown, conflict, refused, unauthorised, busy,
    unreachable, no_answer and the like. `candidates` are ids or words that may have been meant.
    """

    def __init__(self, message, status=0, kind="failure", candidates=()):
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.candidates = list(candidates)


class CompatibilityWarning(UserWarning):
    """An older class was asked for something that a node does otherwise."""


_warned = set()


def _warn(about, text):
    """Says it once in the life of the process."""
    if about not in _warned:
        _warned.add(about)
        warnings.warn(text, CompatibilityWarning, stacklevel=3)


def _read_file(path):
    """The text of a workflow file, which is bounded: a node takes no more."""
    with open(path, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise WfengineError("%s: expected a regular file" % path, 400, "bad_input")
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise WfengineError("%s: a workflow file has at most %d bytes" % (path, FILE_BYTES_MAX), 413, "too_large")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WfengineError("%s: not UTF-8 at byte %d" % (path, error.start), 400, "bad_input") from None


def _data_dir():
    given = os.environ.get("WFENGINE_DATA_DIR")
    if given:
        return given
    base = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(base, "wfengine")


def _kept_token():
    """The token of this host's node; None if it cannot be read: the node then says that one is needed."""
    try:
        with open(os.path.join(_data_dir(), "http-token"), "rb") as file:
            return file.read(_TOKEN_BYTES_MAX).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _is_own_host(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain(value):
    """What JSON does not know and older programs put into results."""
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError("%s is no JSON value" % type(value).__name__)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Events:
    """Server-sent events out of bytes that may be cut anywhere."""

    def __init__(self):
        self._line = bytearray()
        self._data = []
        self._name = ""
        self._bytes = 0
        self._after_cr = False
        self._is_first = True

    def feed(self, chunk):
        """The events that end in this chunk: pairs of name and data."""
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        events = []
        *ended, rest = re.split(b"\r\n|\r|\n", chunk)
        for part in ended:
            self._take(part)
            self._ended(events)
        self._take(rest)
        return events

    def _take(self, part):
        self._bytes += len(part)
        if self._bytes > EVENT_BYTES_MAX:
            raise WfengineError("an event of the stream has more than %d bytes" % EVENT_BYTES_MAX, 0, "too_large")
        self._line += part

    def _ended(self, events):
        line = self._line.decode("utf-8", "replace")
        self._line = bytearray()
        if self._is_first and line.startswith("\ufeff"):
            line = line[1:]
        self._is_first = False
        if not line:
            if self._data:
                events.append((self._name or "message", "\n".join(self._data)))
            self._data, self._name, self._bytes = [], "", 0
            return
        field, _, value = line.partition(":")
        if value.startswith(" "):
            value = value[1:]
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif not field and not self._data and not self._name:
            # a comment between events is a sign of life, and any number of them may follow each other
            self._bytes = 0


class Client:
    """Asks one node. Every call is a connection of its own, so that threads may share a client.

    `url` is http://HOST:PORT, or unix://PATH where a proxy listens; `timeout` is in seconds, for each wait. The token in this host's
    data directory is sent to this host alone.
    """

    def __init__(self, url=None, token=None, timeout=30):
        self.timeout = timeout
        self.url = url or os.environ.get("WFENGINE_NODE") or DEFAULT_URL
        self._unix = self._host = self._port = None
        self._base = ""
        if self.url.startswith("unix://") and len(self.url) > len("unix://"):
            self._unix = self.url[len("unix://"):]
        else:
            self._parse(self.url)
        is_own = self._unix is not None or _is_own_host(self._host)
        token = token or os.environ.get("WFENGINE_TOKEN") or (_kept_token() if is_own else None)
        self._token = (token or "").strip()
        # a token that is no header is not shown, and HTTP would show it
        if not re.fullmatch(r"[\x21-\x7e]*", self._token):
            raise WfengineError("the token has characters that no token has: is it the right file?", 0, "bad_input")

    def _parse(self, url):
        # whatever is wrong, the address may hold a secret
        wrong = WfengineError("the address of the node: expected http://HOST:PORT or unix://PATH", 0, "bad_input")
        try:
            parts = urllib.parse.urlsplit(url)
            self._host, self._port = parts.hostname, parts.port or 80
        except ValueError:
            raise wrong from None
        if parts.scheme != "http" or not self._host or "@" in parts.netloc or parts.query or parts.fragment:
            raise wrong
        if re.search(r"[\x00-\x20\x7f-\U0010ffff]", url):
            raise wrong
        self._base = parts.path.rstrip("/")

    def __repr__(self):
        return "Client(%r)" % self.url

    def _error(self, message, status=0, kind="failure", candidates=()):
        def clean(text):
            return text.replace(self._token, "…") if self._token else text

        return WfengineError(clean(message), status, kind, [clean(str(candidate)) for candidate in candidates])

    def _open(self, method, path, body=None, silence=None):
        """Sends a request: the connection and the answer, which is read if it is a problem."""
        if self._unix is not None:
            connection = _UnixConnection(self._unix, self.timeout)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self.timeout)
        headers = {"Connection": "close", "User-Agent": "wfengine-python"}
        if self._token:
            headers["Authorization"] = "Bearer " + self._token
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            try:
                connection.connect()
            except OSError as error:
                raise self._error(
                    "no node answers at %s: %s; `wfengine serve` starts one, and WFENGINE_NODE says where it is" % (self.url, error),
                    0, "unreachable",
                ) from None
            try:
                if silence is not None:
                    connection.sock.settimeout(silence)
                connection.request(method, self._base + path, body, headers)
                response = connection.getresponse()
                if response.status != 200:
                    raise self._problem(response)
            except (OSError, http.client.HTTPException) as error:
                raise self._no_answer(error) from None
        except BaseException:
            connection.close()
            raise
        return connection, response

    def _no_answer(self, error):
        what = "%s: %s" % (type(error).__name__, error)
        return self._error(
            "%s took the request and did not answer (%s); look whether it was done before you ask again" % (self.url, what),
            0, "no_answer",
        )

    def _problem(self, response):
        data = response.read(_PROBLEM_BYTES_MAX)
        try:
            problem = json.loads(data.decode("utf-8"))
            return self._error(
                str(problem["detail"]), response.status, str(problem["kind"]), problem.get("candidates") or ()
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            text = "%s answered %d %s, and not as a node does" % (self.url, response.status, response.reason)
            return self._error(text, response.status)

    def call(self, tool, /, **arguments):
        """Calls a tool of the node by its name; an argument that is None is left out. Answers the result as a dict."""
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            body = json.dumps(given, default=_plain, allow_nan=False).encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            raise self._error("arguments of %s: %s" % (tool, error), 400, "bad_input") from None
        if len(body) > REQUEST_BYTES_MAX:
            text = "arguments of %s: %d bytes, and %d are allowed" % (tool, len(body), REQUEST_BYTES_MAX)
            raise self._error(text, 413, "too_large")
        connection, response = self._open("POST", "/api/v1/tools/" + urllib.parse.quote(tool, safe=""), body)
        try:
            data = response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error) from None
        finally:
            response.close()
            connection.close()
        if len(data) > ANSWER_BYTES_MAX:
            raise self._error("the answer of %s has more than %d bytes" % (tool, ANSWER_BYTES_MAX), 0, "too_large")
        try:
            result = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError):
            result = None
        if not isinstance(result, dict):
            raise self._error("%s: the answer of %s is no JSON object" % (self.url, tool), 0, "no_answer")
        return result

    def submit(self, path_or_source, name=None, inputs=None, priority=None, id=None, retries=None):
        """Submits a workflow: a path, or the text itself, which has more than one line. Answers a dict with the `run`."""
        if isinstance(path_or_source, str) and "\n" in path_or_source:
            path, source = "workflow.yml", path_or_source
        else:
            path, source = os.fspath(path_or_source), _read_file(path_or_source)
        return self.call(
            "submit_workflow", path=path, source=source, name=name, inputs=inputs, priority=priority, id=id, retries=retries
        )

    def run(self, id):
        """A run by its id, a unique beginning of it, or the id it was submitted under."""
        return self.call("get_run", id=id)

    def runs(self, status=None, peer=None, tag=None, since_ms=None, limit=None):
        """Runs, newest first; 50 of them unless `limit` says otherwise."""
        return self.call("list_runs", status=status, peer=peer, tag=tag, since_ms=since_ms, limit=limit)["runs"]

    def cancel(self, id, reason=None):
        """Cancels a run or task; answers it as it is then."""
        return self.call("cancel_run", id=id, reason=reason)

    def events(self, from_=None):
        """Events of the log without end, from now on or from a place on. Asks at once, not at the first event."""
        query = "" if from_ is None else "?from=%d" % from_
        return self._stream("/api/v1/live/events" + query)

    def follow(self, run):
        """What happens in a run until it has ended; the run as it is then is the generator's return value."""
        return self._stream("/api/v1/live/runs/" + urllib.parse.quote(run, safe=""))

    def _stream(self, path):
        silence = None if self.timeout is None else max(self.timeout, STREAM_SILENCE_S)
        connection, response = self._open("GET", path, silence=silence)
        return self._items(connection, response)

    def _items(self, connection, response):
        parser = _Events()
        try:
            while True:
                chunk = response.read1(65536)
                if not chunk:
                    raise self._error("%s ended the stream before its end; begin again" % self.url, 0, "no_answer")
                for name, data in parser.feed(chunk):
                    document = json.loads(data)
                    if name == "item":
                        yield document
                    elif name == "end":
                        return document
                    elif name == "error":
                        kind = str(document["kind"])
                        raise self._error(
                            str(document["detail"]), _STATUS_OF.get(kind, 500), kind, document.get("candidates") or ()
                        )
        except (OSError, http.client.HTTPException) as error:
            raise self._error("%s broke off the stream: %s" % (self.url, error), 0, "no_answer") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise self._error("%s sent an event that is not one of a node" % self.url, 0, "no_answer") from None
        finally:
            response.close()
            connection.close()
