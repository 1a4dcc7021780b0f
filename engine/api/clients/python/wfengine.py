"""Client of a wfengine node, and on top of it the classes of three older Python programs.

One file without dependencies, for Python 3.8 and later. What an older class asks for and a node does not do is said once, by a
`CompatibilityWarning`, and the nearest true thing is done. The node has the state; only fencing tokens are kept here.
"""

import asyncio
import contextlib
import dataclasses
import enum
import functools
import http.client
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
PART_RUNS_MAX = 500
FILE_BYTES_MAX = 512 * 1024
REQUEST_BYTES_MAX = 1024 * 1024
ANSWER_BYTES_MAX = 64 * 1024 * 1024
EVENT_BYTES_MAX = 1024 * 1024
SMALL_BYTES_MAX = 64 * 1024  # of a problem's document, and of a token's file
HELD_MAX = 4096  # tasks that were taken through one scheduler and not reported
STREAM_SILENCE_S = 60  # a node gives a sign of life on a quiet stream every 15 s
# an error within a stream has a kind and no status
STATUS_OF = {"bad_input": 400, "refused": 403, "unknown": 404, "conflict": 409, "busy": 429, "unreachable": 503}
BROKEN = (ArithmeticError, AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError, http.client.HTTPException)
ADDRESS = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(/[A-Za-z0-9._~%/-]*)?")
REFUSED = {"success": False}
_log = logging.getLogger("wfengine")
_warned = set()


class WfengineError(Exception):
    """What was asked for was not done; the text says why and what to do. `status` is that of HTTP, 0 if no node answered; `kind`
    a word, such as bad_input, unknown, conflict, refused, unauthorised, unreachable; `candidates` what may have been meant."""
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
    """The token of this host's node; empty if it cannot be read, since the node then says what is needed."""
    base = os.environ.get("XDG_DATA_HOME", "")
    folder = os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.local/share"), "wfengine")
    try:
        with open(os.path.join(os.environ.get("WFENGINE_DATA_DIR") or folder, "http-token"), encoding="ascii") as file:
            return file.read(SMALL_BYTES_MAX)
    except (OSError, UnicodeDecodeError):
        return ""


def _events(chunks):
    """Name and data of server-sent events, out of bytes that may be cut anywhere."""
    line, size, encoding, after_cr, name, data = bytearray(), 0, "utf-8-sig", False, "", []
    for chunk in chunks:
        if after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
        after_cr = chunk[-1:] == b"\r"
        for index, part in enumerate(re.split(b"\r\n|\r|\n", chunk)):
            if index > 0:
                text, line, encoding = line.decode(encoding, "replace"), bytearray(), "utf-8"
                field, _, value = text.partition(":")
                value = value[1:] if value[:1] == " " else value
                if field == "data":
                    data.append(value)
                elif field == "event":
                    name = value
                elif not text:
                    if data:
                        yield name or "message", "\n".join(data)
                    name, data, size = "", [], 0
                elif not data and not name:
                    # signs of life between two events are part of neither
                    size = 0
            size += len(part)
            if size > EVENT_BYTES_MAX:
                raise WfengineError(f"an event of the stream has more than {EVENT_BYTES_MAX} bytes", 0, "too_large")
            line += part


class Client:
    """Asks one node; every call has a connection of its own, so that threads may share a client. `url` is http://HOST:PORT of this host, https://HOST:PORT, or
    unix://PATH where a proxy listens, else that of WFENGINE_NODE. `token` is else WFENGINE_TOKEN, or what this host's data
    directory holds, which is sent to this host alone. `timeout` is in seconds, for every wait."""
    def __init__(self, url=None, token=None, timeout=30):
        self.url, self.timeout = url or os.environ.get("WFENGINE_NODE") or DEFAULT_URL, timeout
        self._path = self.url[len("unix://"):] if self.url.startswith("unix://") else None
        match = ADDRESS.fullmatch("http://localhost" if self._path else self.url)
        if not match:
            # not shown: it may hold a secret
            raise WfengineError("the node's address: expected http://HOST:PORT or unix://PATH", 0, "bad_input")
        self._tls = self.url.startswith("https:")
        self._host, self._base = match[1].strip("[]"), (match[3] or "").rstrip("/")
        self._port = int(match[2] or (443 if self._tls else 80))
        is_here = re.fullmatch(r"localhost|127\.\d+\.\d+\.\d+|::1", self._host)
        self._token = (token or os.environ.get("WFENGINE_TOKEN") or (_kept_token() if is_here else "")).strip()
        if self._token and not (is_here or self._tls):
            raise WfengineError("the node's address: others on the network would read the token on its way; use https://, "
                                "or a tunnel to this host", 0, "refused")
        # HTTP would show what it cannot send
        if not re.fullmatch(r"[\x21-\x7e]*", self._token):
            raise WfengineError("the token has characters that no token has: is it the right file?", 0, "bad_input")

    def _error(self, message, status=0, kind="failure", candidates=()):
        message, *candidates = [str(text).replace(self._token or "\0", "…") for text in (message, *candidates)]
        return WfengineError(message, status, str(kind), candidates)

    @contextlib.contextmanager
    def _asked(self, method, path, body=None):
        """The answer of a request that is answered well; whatever breaks while it is read is an error of ours."""
        headers = {"Connection": "close", "Content-Type": "application/json", "User-Agent": "wfengine-python"}
        if self._token:
            headers["Authorization"] = "Bearer " + self._token
        spoken = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection, is_connected = spoken(self._host, self._port, timeout=self.timeout), False
        try:
            if self._path:
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.settimeout(self.timeout)
                connection.sock.connect(self._path)
            else:
                connection.connect()
            is_connected = True
            if body is None and self.timeout is not None:
                connection.sock.settimeout(max(self.timeout, STREAM_SILENCE_S))
            connection.request(method, self._base + path, body, headers)
            with connection.getresponse() as response:
                if response.status != 200:
                    raise self._problem(response, response.read(SMALL_BYTES_MAX))
                yield response
        except BROKEN as error:
            what, kind = "no node answers: `wfengine serve` starts one, WFENGINE_NODE says where it is", "unreachable"
            if is_connected:
                what, kind = "the answer broke off: look whether it was done before you ask again", "no_answer"
            raise self._error(f"{self.url}: {what} ({type(error).__name__} {error})", 0, kind) from None
        finally:
            connection.close()

    def _problem(self, response, data):
        try:
            problem = json.loads(data.decode("utf-8"))
            return self._error(problem["detail"], response.status, problem["kind"], problem.get("candidates") or ())
        except BROKEN:
            return self._error(f"{self.url}: {response.status} {response.reason}, said by no node", response.status)

    def call(self, tool, /, **arguments):
        """Calls a tool of the node by its name: its result, a dict. An argument that is None is left out."""
        try:
            given = {name: value for name, value in arguments.items() if value is not None}
            body = json.dumps(given, allow_nan=False).encode("ascii")
            if len(body) > REQUEST_BYTES_MAX:
                raise ValueError(f"{len(body)} bytes, and {REQUEST_BYTES_MAX} are allowed")
        except (TypeError, ValueError, RecursionError) as error:
            raise self._error(f"arguments of {tool}: {error}", 400, "bad_input") from None
        with self._asked("POST", "/api/v1/tools/" + urllib.parse.quote(tool, safe=""), body) as response:
            data = bytearray()
            while len(data) <= ANSWER_BYTES_MAX and (chunk := response.read(65536)):
                data += chunk
            result = json.loads(data) if len(data) <= ANSWER_BYTES_MAX and not response.length else None
            if isinstance(result, dict):
                return result
            raise ValueError(f"expected a JSON object of at most {ANSWER_BYTES_MAX} bytes")

    def submit(self, path_or_source, name=None, inputs=None, priority=None, id=None, retries=None):
        """Submits a workflow, a file or a text of more than one line; the run is under `run`. The lower priority runs first."""
        is_source = isinstance(path_or_source, str) and "\n" in path_or_source
        path, source = ("workflow.yml", path_or_source) if is_source else _workflow_file(path_or_source)
        wishes = {"path": path, "source": source, "inputs": inputs, "priority": priority, "id": id, "retries": retries}
        return self.call("submit_workflow", name=name, **wishes)

    def run(self, id):
        """A run, by its id, a unique beginning of it, or the id it was submitted under."""
        return self.call("get_run", id=id)

    def runs(self, status=None, peer=None, tag=None, since_ms=None, limit=None):
        """Runs, newest first; 50 unless `limit` says otherwise."""
        wanted = 50 if limit is None else int(limit)
        found, after = [], None
        while wanted > len(found):
            part = self.call("list_runs", status=status, peer=peer, tag=tag, since_ms=since_ms,
                             limit=min(wanted - len(found), PART_RUNS_MAX), after=after)
            found += part["runs"]
            after = part["next"]
            if after is None:
                break
        return found

    def cancel(self, id, reason=None):
        """Cancels a run or task, and answers it as it is then."""
        return self.call("cancel_run", id=id, reason=reason)

    def events(self, from_=None):
        """Yields events of the log without end, from now on or from that place on."""
        return self._items("/api/v1/live/events" + ("" if from_ is None else f"?from={int(from_)}"))

    def follow(self, run):
        """Yields what happens in a run until it has ended; the generator's return value is the run."""
        return self._items("/api/v1/live/runs/" + urllib.parse.quote(run, safe=""))

    def _items(self, path):
        with self._asked("GET", path) as response:
            for name, data in _events(iter(lambda: response.read1(65536), b"")):
                document = json.loads(data)
                if name == "item":
                    yield document
                elif name == "end":
                    return document
                elif name == "error":
                    kind, candidates = document["kind"], document.get("candidates") or ()
                    raise self._error(document["detail"], STATUS_OF.get(kind, 500), kind, candidates)
            raise ConnectionError("the stream ended early")


class WorkflowTag(str, enum.Enum):
    """Routing tags, with the names of both dialects; `WorkflowTag(text)` reads any case, and both - and _."""
    P2P_ONLY = "p2p-only"
    P2P_ELIGIBLE = "p2p-eligible"
    GITHUB_API = "github-api"
    UNIT_TEST = "unit-test"
    CODE_GENERATION = CODE_GEN = "code-generation"
    WEB_SCRAPING = WEB_SCRAPE = "web-scraping"
    DATA_PROCESSING = "data-processing"

    @classmethod
    def _missing_(cls, value):
        return cls.__members__.get(str(value).upper().replace("-", "_"))


_STATUSES = ("pending", "assigned", "in_progress", "completed", "failed", "cancelled")
WorkflowStatus = enum.Enum("WorkflowStatus", {word.upper(): word for word in _STATUSES}, type=str, module=__name__)


@dataclasses.dataclass
class P2PTask:
    """A task of the quick start. Its priority is an urgency from 1 to 10, and 10 runs first."""
    task_id: str
    workflow_id: str
    name: str
    tags: list = dataclasses.field(default_factory=list)
    priority: int = 5
    created_at: float = dataclasses.field(default_factory=time.time)
    task_hash: "str | None" = None
    assigned_peer: "str | None" = None
    metadata: "dict | None" = None


@dataclasses.dataclass
class WorkflowDefinition:
    """A piece of work of the datasets scheduler. The lower priority runs first."""
    workflow_id: str
    name: str
    tags: list
    priority: float = 1.0
    created_at: float = dataclasses.field(default_factory=time.time)
    metadata: dict = dataclasses.field(default_factory=dict)


def _asks(tool, *names, take=None, refused=None):
    """A method that calls a tool: its result, or one field of it. With `refused` a refusal is a result with these fields."""
    def method(self, *args, **arguments):
        if len(args) > len(names):
            raise TypeError(f"{tool} takes at most {len(names)} arguments, {names}")
        given = {**dict(zip(names, args)), **arguments}
        try:
            if "workflow_file" in given:
                # a node reads no files for callers over a network
                given["workflow_file"], given["source"] = _workflow_file(given["workflow_file"])
            answer = self.client.call(tool, **given)
        except (OSError, WfengineError) as failure:
            if refused is None or getattr(failure, "status", 400) in (0, 401):
                raise
            return {**refused, "error": str(failure), "candidates": getattr(failure, "candidates", [])}
        return answer[take] if take else answer
    method.__name__, method.__doc__ = tool, f"Calls {tool}({', '.join(names)})."
    return method


def _awaited(tool, *names):
    method = _asks(tool, *names, refused=REFUSED)

    async def function(*args, **arguments):
        loop, asker = asyncio.get_running_loop(), Record(client=Client())
        return await loop.run_in_executor(None, lambda: method(asker, *args, **arguments))
    function.__name__, function.__doc__ = tool, method.__doc__
    return function


initialize_p2p_scheduler = _awaited("initialize_p2p_scheduler", "peer_id", "peers")
schedule_p2p_workflow = _awaited("schedule_p2p_workflow", "workflow_id", "name", "tags", "priority", "metadata")
get_next_p2p_workflow = _awaited("get_next_p2p_workflow")
get_p2p_scheduler_status = _awaited("get_p2p_scheduler_status")


class _Peer:
    """What schedulers and coordinators have in common."""
    def __init__(self, peer_id=None, peers=(), client=None):
        self.client = client or Client()
        self._introduce(peer_id, peers)

    def _introduce(self, peer_id, peers):
        if peer_id is not None and peer_id != self.peer_id:
            _warn("peer_id", f"peer_id={peer_id!r}: the node stays {self.peer_id!r}; initialize_p2p_scheduler renames it")
        for peer in [peer for peer in peers or () if peer != peer_id]:
            self.add_peer(peer)

    @property
    def peer_id(self):
        """Name of the node."""
        return self.client.call("p2p_get_merkle_clock")["node_id"]

    @property
    def peer_list(self):
        """Names of the members, the node's own first, then addresses that were only added."""
        known = self.client.call("list_peers")
        return [peer["name"] for peer in sorted(known["peers"], key=lambda peer: not peer["me"])] + known["addresses"]

    @property
    def merkle_clock(self):
        """The clock as it is at this moment, in the words of all three dialects."""
        clock, height = self.client.call("p2p_get_merkle_clock"), self.client.call("node_status")["height"]
        return Record(peer_id=clock["node_id"], logical_clock=height, counter=height, head_hash=clock["merkle_root"], **clock)

    def add_peer(self, peer_id):
        """Has the node connect to HOST or HOST:PORT; a member is known already."""
        message = self.client.call("add_p2p_peer", peer_id=peer_id)["message"]
        if "invite" in message:
            _warn("add_peer", f"add_peer({peer_id!r}): {message}")
        return True

    remove_peer = _asks("remove_p2p_peer", "peer_id", take="success")


class P2PWorkflowScheduler(_Peer):
    """The scheduler of the quick start, whose methods speak of tasks, and that of the datasets, whose speak of workflows."""
    def __init__(self, peer_id=None, bootstrap_peers=None, peers=None, client=None):
        self._held = {}
        super().__init__(peer_id, [*(bootstrap_peers or ()), *(peers or ())], client)

    should_bypass_github = _asks("p2p_check_workflow_tags", "tags", take="should_bypass_github")
    is_p2p_only = _asks("p2p_check_workflow_tags", "tags", take="is_p2p_only")
    get_assigned_workflows = _asks("get_assigned_workflows", take="assigned_workflows")

    def _taken(self, kind, work):
        """What was handed out, as an object; its tags are members, and texts where they are free labels."""
        if work is None:
            return None
        self._held[work.get("task_id") or work["workflow_id"]] = work["fencing_token"]
        if len(self._held) > HELD_MAX:
            del self._held[next(iter(self._held))]
        known = {field.name: work[field.name] for field in dataclasses.fields(kind) if field.name in work}
        return kind(**{**known, "tags": [WorkflowTag._missing_(tag) or tag for tag in work["tags"]]})

    def submit_task(self, task):
        """Submits a task for a program to take; False if the node has it already."""
        fields = {name: getattr(task, name) for name in ("task_id", "workflow_id", "name", "tags", "priority", "metadata")}
        answer = self.client.call("p2p_submit_task", **fields)
        task.task_hash = answer["task_hash"]
        return not answer["already_so"]

    def get_next_task(self):
        """Takes the most urgent task that the node may claim, for ten minutes; None if there is none."""
        return self._taken(P2PTask, self.client.call("p2p_get_next_task")["task"])

    def mark_task_complete(self, task_id, result=None):
        """Records the result of a task or workflow; refused if it was handed to somebody else since."""
        token = self._held.get(task_id)
        answer = self.client.call("p2p_mark_task_complete", task_id=task_id, fencing_token=token, result=result)
        self._held.pop(task_id, None)
        return answer["success"]

    def schedule_workflow(self, workflow):
        """Submits a workflow for a program to take; `success` is false, with a `reason`, if its tags do not ask for peers."""
        fields = {name: getattr(workflow, name) for name in ("workflow_id", "name", "tags", "priority", "metadata")}
        return self.client.call("schedule_p2p_workflow", **fields)["result"]

    def get_next_workflow(self):
        """Takes the next workflow that the node may claim, for ten minutes; None if there is none."""
        _warn("get_next", "get_next_workflow: offered again after ten minutes, unless mark_task_complete(workflow_id) is called")
        return self._taken(WorkflowDefinition, self.client.call("get_next_p2p_workflow")["workflow"])

    def get_status(self):
        """The fields of both dialects."""
        return {**self.client.call("get_p2p_scheduler_status")["status"], **self.client.call("p2p_scheduler_status")}


class P2PWorkflowCoordinator(_Peer):
    """The coordinator of the quick reference. Nodes execute runs of workflow files; programs execute tasks."""
    def __init__(self, peer_id=None, data_dir=None, enable_auto_sync=True, client=None):
        super().__init__(peer_id, (), client)
        if data_dir is not None:
            _warn("data_dir", f"data_dir={data_dir!r}: nothing is written there, the node keeps the state")

    submit_workflow = _asks("submit_p2p_workflow", "workflow_file", "name", "inputs", "priority", take="workflow_id")
    assign_workflows = _asks("assign_p2p_workflows", take="workflow_ids")
    get_workflow_status = _asks("get_p2p_workflow_status", "workflow_id")
    list_workflows = _asks("list_p2p_workflows", "status", "peer_id", take="workflows")
    get_stats = _asks("get_p2p_stats")
    _parse = _asks("parse_workflow_tags", "workflow_file")
    _update = _asks("update_p2p_workflow_status", "workflow_id", "status", "result", "error", take="success")

    def parse_workflow_file(self, workflow_file):
        """What a file says of itself: name, tags, jobs, is_p2p, routing, warnings."""
        answer = self._parse(workflow_file)
        if answer["success"]:
            return {**answer, **answer["metadata"]}
        raise WfengineError(answer["error"], 400, "bad_input")

    def is_p2p_workflow(self, metadata):
        """Whether work with such tags goes to peers."""
        return self.client.call("p2p_check_workflow_tags", tags=list(metadata["tags"]))["should_bypass_github"]

    def get_my_workflows(self):
        """ASSIGNED are tasks that the rule gives to the node and nobody has taken; IN_PROGRESS is what the node holds."""
        mine, assigned = self.client.call("get_my_p2p_workflows"), self.client.call("assign_p2p_workflows")["assignments"]
        ours = {of["workflow_id"] for of in assigned if of["assigned_peer"] == mine["peer_id"]}
        # a waiting run of a file is for a node to execute, and not for a program
        tasks = [task for task in self.list_workflows("pending") if task["workflow_id"] in ours and not task["workflow_file"]]
        found = (WorkflowStatus.ASSIGNED, tasks), (WorkflowStatus.IN_PROGRESS, mine["workflows"])
        return [Record(**{**task, "status": status, "tags": set(task["tags"])}) for status, listed in found for task in listed]

    def update_workflow_status(self, workflow_id, status, result=None, error=None):
        """Records what became of a task. False for a run of a file: its jobs end by themselves."""
        try:
            return self._update(workflow_id, status, result, error)
        except WfengineError as failure:
            if failure.status != 409 or not self.get_workflow_status(workflow_id)["workflow_file"]:
                raise
            _warn("update", f"update_workflow_status: {failure}")
            return False


class P2PWorkflowTools:
    """The coordinator's ten tools, which answer `success` false and an `error` where something is refused."""
    def __init__(self, client=None):
        self.client = client or Client()

    submit_p2p_workflow = _asks("submit_p2p_workflow", "workflow_file", "name", "inputs", "priority", refused=REFUSED)
    assign_p2p_workflows = _asks("assign_p2p_workflows", refused=REFUSED)
    get_p2p_workflow_status = _asks("get_p2p_workflow_status", "workflow_id", refused=REFUSED)
    list_p2p_workflows = _asks("list_p2p_workflows", "status", "peer_id", refused=REFUSED)
    update_p2p_workflow_status = _asks("update_p2p_workflow_status", "workflow_id", "status", "result", "error", refused=REFUSED)
    add_p2p_peer = _asks("add_p2p_peer", "peer_id", refused=REFUSED)
    remove_p2p_peer = _asks("remove_p2p_peer", "peer_id", refused=REFUSED)
    get_p2p_stats = _asks("get_p2p_stats", refused=REFUSED)
    parse_workflow_tags = _asks("parse_workflow_tags", "workflow_file", refused={"success": False, "is_p2p": False})
    get_my_p2p_workflows = _asks("get_my_p2p_workflows", refused=REFUSED)


class P2PWorkflowDiscoveryService:
    """Discovery, which the node does with its own credential; without an owner it looks at all that this sees."""
    def __init__(self, owner=None, poll_interval=300, scheduler=None, client=None):
        self.owner, self.poll_interval, self._is_stopped = owner, poll_interval, False
        self.scheduler = scheduler or P2PWorkflowScheduler(client=client)
        self.client = self.scheduler.client

    def run_discovery_cycle(self):
        """Looks once and submits what is due: discovered, submitted, taskqueue_drained, scheduler, timestamp, report, notes."""
        found, status = self.client.call("discover_workflows", owner=self.owner), self.scheduler.get_status()
        return {**found, "taskqueue_drained": 0, "scheduler": status, "timestamp": time.time()}

    def start(self):
        """Looks every `poll_interval` seconds until `stop`. `wfengine discover watch` has the node do that by itself."""
        self._is_stopped = False
        while not self._is_stopped:
            try:
                self.run_discovery_cycle()
            except WfengineError as failure:
                # the node, or what it asks, may be back the next time
                if failure.status not in (0, 429, 500, 503):
                    raise
                _log.warning("%s; asked again in %s s", failure, self.poll_interval)
            until = time.monotonic() + self.poll_interval
            while not self._is_stopped and time.monotonic() < until:
                time.sleep(max(0, min(1, until - time.monotonic())))

    def stop(self):
        """Ends `start` within a second; for another thread or a signal handler."""
        self._is_stopped = True

    def discover_workflows_in_repo(self, owner, repo, dry_run=True):
        """Tagged workflows of a repository, as objects; what is due is submitted if it is no dry run."""
        report = self.client.call("discover_workflows", repositories=[f"{owner}/{repo}"], dry_run=dry_run)["report"]
        for problem in report["problems"]:
            _log.warning("%s %s: %s", problem["repository"], problem["path"], problem["what"])
        return [Record(**line, run_id=next(iter(line["runs"]), None), created_at=time.time()) for line in report["workflows"]]

    def submit_workflow_to_scheduler(self, discovery):
        """Has the node submit what is due in the repository; True if this workflow was submitted, now or before."""
        _warn("submit_one", "submit_workflow_to_scheduler: the node submits all that is due in the repository")
        for line in self.discover_workflows_in_repo(discovery.owner, discovery.repo, dry_run=False):
            if line.workflow_path == discovery.workflow_path:
                discovery.status, discovery.run_id = line.status, line.run_id or discovery.run_id
        return discovery.status in ("submitted", "known")


@dataclasses.dataclass
class RunnerConfig:
    """Settings of the older kit. A node takes owner, poll_interval, max_runners and runner_image from here."""
    owner: "str | None" = None
    poll_interval: int = 120
    since_days: int = 1
    max_runners: int = 10
    filter_by_arch: bool = True
    enable_p2p: bool = False
    runner_image: str = "myoung34/github-runner:latest"
    runner_work_dir: str = "/tmp/_work"
    token_file: str = "/var/lib/github-runner-autoscaler/runner_tokens.json"
    network_mode: str = "host"
    memory_limit: str = "4g"
    cpu_limit: float = 4.0


class RunnerKit:
    """Runners in containers, which the node starts, watches and removes."""
    # what programs cannot have otherwise over HTTP
    GIVEN = dict(since_days=1, filter_by_arch=True, enable_p2p=True, runner_work_dir="_work", token_file=None,
                 network_mode="own", memory_limit="4g", cpu_limit=4.0)

    def __init__(self, config=None, client=None):
        self.config, self.client = config or RunnerConfig(), client or Client()

    def start_autoscaler(self, background=True):
        """Has the node start runners as jobs are queued, from now on and after restarts."""
        config = dataclasses.asdict(self.config)
        others = [f"{name} {has!r} and not {config[name]!r}" for name, has in self.GIVEN.items() if config[name] != has]
        if others:
            _warn("runners", f"runners have {', '.join(others)}; `wfengine runner start` sets that on the host")
        wishes = {name: config[name] for name in ("owner", "poll_interval", "max_runners", "runner_image")}
        answer = self.client.call("runner_start_autoscaler", background=background, **wishes)
        for note in answer["notes"]:
            _log.warning("%s", note)
        return answer["success"]

    start = start_autoscaler
    stop = stop_autoscaler = _asks("runner_stop_autoscaler", take="success")
    stop_runner_container = _asks("runner_stop_container", "container", take="success")

    def get_status(self):
        """running, start_time, iterations, active_runners, queued_workflows, repositories_monitored, last_check and more."""
        return Record(**self.client.call("runner_get_status")["data"])

    def get_workflow_queues(self):
        """Of each repository: repo, total, running, failed, pending and more."""
        return [Record(total=queue["total_workflows"], **queue) for queue in self.client.call("runner_list_workflows")["data"]]

    def generate_runner_token(self, repo):
        """A mark for launch_runner_container: the node registers the runner as it starts it, and no token leaves it."""
        _warn("token", "generate_runner_token: the node registers a runner as it starts it; programs get a mark and no token")
        return f"registered by the node: {repo}"

    def launch_runner_container(self, repo, token=None):
        """Starts one runner for a repository; answers its container's id."""
        answer = self.client.call("runner_provision_for_workflow", repo=repo)
        if not answer["success"]:
            raise WfengineError(answer["message"], 500, answer["data"]["status"])
        return answer["data"]["container_id"]

    def list_runner_containers(self):
        """Of each runner on this host: container_id, repo, status, created_at and more."""
        return [Record(**container) for container in self.client.call("runner_list_containers")["data"]]


def GitHubRunnerAutoscaler(client=None, **settings):
    """The autoscaler of the discovery document: a kit with these settings of RunnerConfig."""
    return RunnerKit(RunnerConfig(**{"enable_p2p": True, **settings}), client)


_of_process = functools.lru_cache(maxsize=None)(lambda kind: kind())


def get_scheduler(peer_id=None, peers=None):
    """The scheduler of this process. What is given counts in every call, not in the first alone."""
    _of_process(P2PWorkflowScheduler)._introduce(peer_id, peers)
    return _of_process(P2PWorkflowScheduler)


def get_runner_kit(config=None):
    """The kit of this process, with these settings from now on if some are given."""
    _of_process(RunnerKit).config = config or _of_process(RunnerKit).config
    return _of_process(RunnerKit)
