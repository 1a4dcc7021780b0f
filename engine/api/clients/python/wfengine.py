"""Client of a wfengine node, and on top of it the classes of three older Python programs.

One file without dependencies, for Python 3.8 and later. Where the node is and its token come from the arguments of `Client`,
else from WFENGINE_NODE and WFENGINE_TOKEN, else they are those of a node on this host.

What an older class asks for and a node does not do is said once, with a `CompatibilityWarning`, and the nearest thing that is
true is done. Nothing is kept here but the fencing tokens of tasks that were taken: the node has the state.
"""

from __future__ import annotations

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
import time
import types
import urllib.parse
import warnings

DEFAULT_URL = "http://127.0.0.1:8080"
FILE_BYTES_MAX = 512 * 1024
REQUEST_BYTES_MAX = 1024 * 1024
ANSWER_BYTES_MAX = 64 * 1024 * 1024
EVENT_BYTES_MAX = 1024 * 1024
# a node gives a sign of life on a quiet stream every 15 s
STREAM_SILENCE_S = 60
# tasks that were taken here and not reported
HELD_MAX = 4096
# an error within a stream has a kind and no status
STATUS_OF = {"bad_input": 400, "refused": 403, "unknown": 404, "conflict": 409, "busy": 429, "unreachable": 503}

_log = logging.getLogger("wfengine")
_warned = set()


class WfengineError(Exception):
    """What was asked for was not done; the text says why and what to do.

    `status` is that of HTTP, or 0 if no node answered. `kind` is a word: bad_input, unknown, conflict, refused, unauthorised,
    busy, unreachable, no_answer and the like. `candidates` are ids or words that may have been meant.
    """

    def __init__(self, message, status=0, kind="failure", candidates=()):
        super().__init__(message)
        self.status, self.kind, self.candidates = status, kind, list(candidates)


class CompatibilityWarning(UserWarning):
    """An older class was asked for something that a node does otherwise."""


class Record(types.SimpleNamespace):
    """Fields of an answer as attributes."""


def _warn(about, text):
    if about not in _warned:
        _warned.add(about)
        warnings.warn(text, CompatibilityWarning, stacklevel=3)


def _workflow_file(path):
    """Path and text of a workflow file, as tools take them."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: there is no such file")
    with open(path, "rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise WfengineError(f"{path}: a workflow file has at most {FILE_BYTES_MAX} bytes", 413, "too_large")
    try:
        return os.fspath(path), data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WfengineError(f"{path}: byte {error.start} is not UTF-8", 400, "bad_input") from None


def _kept_token():
    """The token of this host's node; None if it cannot be read, since the node then says what is needed."""
    folder = os.environ.get("WFENGINE_DATA_DIR")
    if not folder:
        base = os.environ.get("XDG_DATA_HOME", "")
        folder = os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.local/share"), "wfengine")
    try:
        with open(os.path.join(folder, "http-token"), "rb") as file:
            return file.read(4096).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _is_this_host(name):
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _set_as_list(value):
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    raise TypeError(f"{type(value).__name__} is no JSON value")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _EventParser:
    """Server-sent events out of bytes that may be cut anywhere."""

    def __init__(self):
        self._line, self._bytes, self._after_cr, self._is_first = bytearray(), 0, False, True
        self._name, self._data = "", []

    def feed(self, chunk):
        """Name and data of every event that ends in this chunk."""
        if self._after_cr and chunk[:1] == b"\n":
            chunk, self._after_cr = chunk[1:], False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        events = []
        for index, part in enumerate(re.split(b"\r\n|\r|\n", chunk)):
            if index > 0:
                self._end_line(events)
            self._bytes += len(part)
            if self._bytes > EVENT_BYTES_MAX:
                raise WfengineError(f"an event of the stream has more than {EVENT_BYTES_MAX} bytes", 0, "too_large")
            self._line += part
        return events

    def _end_line(self, events):
        line = self._line.decode("utf-8", "replace")
        if self._is_first and line[:1] == "\ufeff":
            line = line[1:]
        self._line, self._is_first = bytearray(), False
        field, _, value = line.partition(":")
        value = value[1:] if value[:1] == " " else value
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif not line:
            if self._data:
                events.append((self._name or "message", "\n".join(self._data)))
            self._name, self._data, self._bytes = "", [], 0
        elif not self._data and not self._name:
            # signs of life between two events are part of neither
            self._bytes = 0


class Client:
    """Asks one node. Every call has a connection of its own, so that threads may share a client.

    `url` is http://HOST:PORT, or unix://PATH where a proxy listens; `timeout` is in seconds, for every wait. The token that this
    host's data directory holds is sent to this host alone.
    """

    def __init__(self, url=None, token=None, timeout=30):
        self.url, self.timeout = url or os.environ.get("WFENGINE_NODE") or DEFAULT_URL, timeout
        self._path = self.url[len("unix://"):] if self.url.startswith("unix://") else None
        if not self._path:
            self._host, self._port, self._base = self._address()
        is_local = bool(self._path) or _is_this_host(self._host)
        token = token or os.environ.get("WFENGINE_TOKEN") or (_kept_token() if is_local else None)
        self._token = (token or "").strip()
        # HTTP would show what it cannot send
        if not re.fullmatch(r"[\x21-\x7e]*", self._token):
            raise WfengineError("the token has characters that no token has: is it the right file?", 0, "bad_input")

    def _address(self):
        try:
            parts = urllib.parse.urlsplit(self.url)
            port = parts.port or 80
        except ValueError:
            parts, port = urllib.parse.urlsplit(""), 0
        is_plain = re.fullmatch(r"[\x21-\x7e]*", self.url) and not set("@?#") & set(self.url)
        if parts.scheme != "http" or not parts.hostname or not is_plain:
            # not shown: it may hold a secret
            raise WfengineError("the node's address: expected http://HOST:PORT or unix://PATH", 0, "bad_input")
        return parts.hostname, port, parts.path.rstrip("/")

    def __repr__(self):
        return f"Client({self.url!r})"

    def _error(self, message, status=0, kind="failure", candidates=()):
        texts = [str(text) for text in (message, *candidates)]
        message, *candidates = [text.replace(self._token, "…") if self._token else text for text in texts]
        return WfengineError(message, status, str(kind), candidates)

    def _broken(self, error):
        return self._error(f"{self.url} did not answer to the end: {type(error).__name__} {error}; look whether it was "
                           "done before you ask again", 0, "no_answer")

    def _open(self, method, path, body=None, silence=None):
        """The connection and the answer of a request that is answered well."""
        headers = {"Connection": "close", "Content-Type": "application/json", "User-Agent": "wfengine-python"}
        if self._token:
            headers["Authorization"] = "Bearer " + self._token
        if self._path:
            connection = _UnixConnection(self._path, self.timeout)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self.timeout)
        try:
            try:
                connection.connect()
            except (OSError, UnicodeError, ValueError) as error:
                raise self._error(f"no node answers at {self.url}: {error}; `wfengine serve` starts one, and "
                                  "WFENGINE_NODE says where it is", 0, "unreachable") from None
            try:
                if silence is not None:
                    connection.sock.settimeout(silence)
                connection.request(method, ("" if self._path else self._base) + path, body, headers)
                response = connection.getresponse()
                if response.status != 200:
                    raise self._problem(response, response.read(64 * 1024))
            except (OSError, http.client.HTTPException) as error:
                raise self._broken(error) from None
        except BaseException:
            connection.close()
            raise
        return connection, response

    def _problem(self, response, data):
        try:
            problem = json.loads(data.decode("utf-8"))
            return self._error(problem["detail"], response.status, problem["kind"], problem.get("candidates") or ())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return self._error(f"{self.url}: {response.status} {response.reason}, and not as a node says it", response.status)

    def call(self, tool, /, **arguments):
        """Calls a tool of the node by its name: its result, a dict. An argument that is None is left out."""
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            body = json.dumps(given, default=_set_as_list, allow_nan=False).encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            raise self._error(f"arguments of {tool}: {error}", 400, "bad_input") from None
        if len(body) > REQUEST_BYTES_MAX:
            raise self._error(f"arguments of {tool}: {len(body)} bytes of {REQUEST_BYTES_MAX} at most", 413, "too_large")
        connection, response = self._open("POST", "/api/v1/tools/" + urllib.parse.quote(tool, safe=""), body)
        try:
            data = response.read(ANSWER_BYTES_MAX + 1)
            result = json.loads(data.decode("utf-8")) if len(data) <= ANSWER_BYTES_MAX else None
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            raise self._broken(error) from None
        finally:
            response.close()
            connection.close()
        if not isinstance(result, dict):
            raise self._error(f"{tool}: expected a JSON object of at most {ANSWER_BYTES_MAX} bytes", 0, "no_answer")
        return result

    def submit(self, path_or_source, name=None, inputs=None, priority=None, id=None, retries=None):
        """Submits a workflow, a file or a text of more than one line; the run is under `run`. The lower priority runs first."""
        is_source = isinstance(path_or_source, str) and "\n" in path_or_source
        path, source = ("workflow.yml", path_or_source) if is_source else _workflow_file(path_or_source)
        wishes = {"name": name, "inputs": inputs, "priority": priority, "id": id, "retries": retries}
        return self.call("submit_workflow", path=path, source=source, **wishes)

    def run(self, id):
        """A run, by its id, a unique beginning of it, or the id it was submitted under."""
        return self.call("get_run", id=id)

    def runs(self, status=None, peer=None, tag=None, since_ms=None, limit=None):
        """Runs, newest first; 50 unless `limit` says otherwise."""
        return self.call("list_runs", status=status, peer=peer, tag=tag, since_ms=since_ms, limit=limit)["runs"]

    def cancel(self, id, reason=None):
        """Cancels a run or task, and answers it as it is then."""
        return self.call("cancel_run", id=id, reason=reason)

    def events(self, from_=None):
        """Yields events of the log without end, from now on or from that place. Asks the node at once."""
        return self._items("/api/v1/live/events" + ("" if from_ is None else f"?from={int(from_)}"))

    def follow(self, run):
        """Yields what happens in a run until it has ended; the generator's return value is the run."""
        return self._items("/api/v1/live/runs/" + urllib.parse.quote(run, safe=""))

    def _items(self, path):
        silence = None if self.timeout is None else max(self.timeout, STREAM_SILENCE_S)
        return self._read_stream(*self._open("GET", path, silence=silence))

    def _read_stream(self, connection, response):
        parser = _EventParser()
        try:
            while True:
                chunk = response.read1(65536)
                if not chunk:
                    raise ConnectionError("the stream ended early")
                for name, data in parser.feed(chunk):
                    document = json.loads(data)
                    if name == "item":
                        yield document
                    elif name == "end":
                        return document
                    elif name == "error":
                        kind, candidates = document["kind"], document.get("candidates") or ()
                        raise self._error(document["detail"], STATUS_OF.get(kind, 500), kind, candidates)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._broken(error) from None
        finally:
            response.close()
            connection.close()
