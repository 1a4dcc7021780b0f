"""Tests of the Python client against a node that serves: `python3 -m unittest test_wfengine` beside wfengine.py.

WFENGINE_NODE and WFENGINE_TOKEN name the node, which should have nothing else to do: its tasks are taken, and it is renamed and
named back. WFENGINE_DOCUMENTS is the folder of the five documents whose snippets are run. All three have to be set.
"""

import ast
import asyncio
import contextlib
import dataclasses
import io
import itertools
import os
import random
import re
import socket
import socketserver
import tempfile
import threading
import time
import traceback
import types
import typing
import unittest
import urllib.parse
import uuid
import warnings
from unittest import mock

import wfengine
from wfengine import (
    Client, CompatibilityWarning, P2PTask, P2PWorkflowCoordinator, P2PWorkflowDiscoveryService, P2PWorkflowScheduler,
    P2PWorkflowTools, Record, RunnerConfig, RunnerKit, WfengineError, WorkflowDefinition, WorkflowStatus, WorkflowTag,
)

NODE, TOKEN, DOCUMENTS = (os.environ[name] for name in ("WFENGINE_NODE", "WFENGINE_TOKEN", "WFENGINE_DOCUMENTS"))

WORKFLOW = """name: P2P-Workflow Client
on: workflow_dispatch
labels: [p2p-workflow, data-collection]
jobs:
  greet:
    runs-on: self-hosted
    steps:
      - run: echo "grüß dich"
"""
SLOW = WORKFLOW.replace('echo "grüß dich"', "sleep 60")


def unique(word):
    return f"{word}-{uuid.uuid4().hex[:12]}"


def write(name, text, encoding="utf-8"):
    with open(name, "w", encoding=encoding) as file:
        file.write(text)


def eventually(what, seconds=30):
    """What this answers as soon as it is true."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.05)
    return found


class NodeCase(unittest.TestCase):
    """A test that asks the node, in a folder of its own, and leaves no task waiting and no address behind."""
    def setUp(self):
        self.client = Client(NODE, TOKEN)
        self.coordinator = P2PWorkflowCoordinator(client=self.client)
        wfengine._warned.clear()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        for name in ("workflow.yml", "scrape.yml", "generate.yml", "process.yml"):
            write(name, WORKFLOW)
        known = self.client.call("list_peers")
        name = next(peer["name"] for peer in known["peers"] if peer["me"])
        self.addCleanup(self.put_back, name, set(known["addresses"]))
        self.take_all()

    def put_back(self, name, addresses):
        self.take_all()
        self.client.call("initialize_p2p_scheduler", peer_id=name)
        for address in set(self.client.call("list_peers")["addresses"]) - addresses:
            self.client.call("remove_p2p_peer", peer_id=address)

    def take_all(self):
        """Ends the tasks that wait, and those that a test has taken."""
        for status in ("pending", "assigned", "in_progress"):
            for run in self.client.runs(status=status, limit=10000):
                if run["kind"] == "task":
                    self.client.cancel(run["id"])

    def task(self, taken=False, **fields):
        id = unique("task")
        self.client.call("submit_task", id=id, tags=["p2p-only"], **fields)
        if taken:
            self.assertEqual(self.client.call("take_task", id=id)["task"]["task_id"], id)
        return id

    def refused(self, status, kind, call, /, *args, **arguments):
        with self.assertRaises(WfengineError) as caught:
            call(*args, **arguments)
        self.assertEqual((caught.exception.status, caught.exception.kind), (status, kind), str(caught.exception))
        self.assertNotIn(TOKEN, "".join(traceback.format_exception(None, caught.exception, caught.exception.__traceback__)))
        return caught.exception


# words of snippets that name things of the node, which has them from the last time already
NAMED = re.compile(r'"(task1|workflow1|wf1|codegen-001|scrape-001|process-001)"')


def snippets():
    for document in ("quick-start", "scheduler", "quick-reference", "discovery", "runner-autoscaling"):
        with open(os.path.join(DOCUMENTS, document + ".md"), encoding="utf-8") as file:
            text = file.read()
        for number, found in enumerate(re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL), 1):
            yield document, number, text[: found.start(1)].count("\n") + 1, found.group(1)


class DocumentsTest(NodeCase):
    """Every Python snippet of the five documents, with nothing changed but its import lines and its ids."""
    def run_snippet(self, document, number, line, text, **names):
        source = re.sub(r"^from ipfs\w*(\.\w+)* import", "from wfengine import", text, flags=re.MULTILINE)
        self.assertNotIn("ipfs", re.sub(r"#.*", "", source))
        source = NAMED.sub(lambda found: f'"{unique(found.group(1))}"', source)
        source = source.replace("6.0+ ", "6.0 ")  # a list of numbers for people
        code = compile("\n" * line + source, document + ".md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        known = {name: thing for name, thing in vars(wfengine).items() if not name.startswith("_")}
        known.update(dataclass=dataclasses.dataclass, Optional=typing.Optional, __name__="snippet", __builtins__=__builtins__, **names)
        output = io.StringIO()
        with mock.patch("logging.basicConfig"), mock.patch("time.sleep", side_effect=[None, SystemExit]), warnings.catch_warnings():
            warnings.simplefilter("ignore", CompatibilityWarning)
            with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
                answer = types.FunctionType(code, known)()
                if answer is not None:
                    asyncio.run(answer)
        return types.SimpleNamespace(known=known, printed=output.getvalue())

    def test_every_snippet_runs(self):
        self.assertEqual(len(list(snippets())), 25)
        for document, number, line, text in snippets():
            with self.subTest(document=document, number=number):
                names = dict(coord=self.coordinator, workflow=None, wf_id=self.task(taken=True))
                names.update(execute=lambda workflow: None, execute_workflow=lambda workflow: {"lines": 3})
                try:
                    self.run_snippet(document, number, line, text, **names)
                except WfengineError as failure:
                    # what the node lacks: a credential, an engine, leave to serve a repository
                    self.assertIn(document, ("discovery", "runner-autoscaling"), failure)
                    self.assertRegex(str(failure), "(?i)github|docker|what helps")
                finally:
                    self.client.call("runner_stop_autoscaler")

    def snippet(self, document, text):
        return next(found for found in snippets() if found[0] == document and text in found[3])

    def test_what_the_quick_start_does_is_seen_by_others(self):
        done = self.run_snippet(*self.snippet("quick-start", "priority=8"))
        self.assertEqual(done.printed, "Executing: Code Generation\n")
        run = self.client.run(done.known["task"].task_id)
        self.assertEqual((run["status"], run["tags"]), ("completed", ["p2p-only", "code-generation"]))

    def test_the_worker_takes_what_waits(self):
        ids = [self.task(), self.task()]
        done = self.run_snippet(*self.snippet("quick-start", "worker-1"))
        self.assertEqual(done.printed.count("Executing: "), 2)
        self.assertEqual({self.client.run(id)["status"] for id in ids}, {"completed"})

    def test_what_the_datasets_document_schedules_is_seen_by_others(self):
        done = self.run_snippet(*self.snippet("scheduler", "get_scheduler"))
        workflow = done.known["workflow"]
        self.assertEqual(self.client.run(workflow.workflow_id)["priority"], 2.0)
        if done.known["result"]["is_local"]:
            self.assertIn(f"Processing: {workflow.workflow_id}\n", done.printed)
        done = self.run_snippet(*self.snippet("scheduler", "await"))
        self.assertEqual(self.client.call("node_status")["peer"], "my-peer")
        self.assertTrue(done.known["result"]["success"])

    def test_a_program_that_monitors_executes_tasks_that_nobody_has_and_no_runs_of_files(self):
        held, id, run = self.task(taken=True), self.task(), self.client.submit(SLOW)["run"]["id"]
        self.addCleanup(self.client.cancel, run)
        eventually(lambda: self.client.run(run)["status"] in ("assigned", "in_progress"))
        executed = []
        self.run_snippet(*self.snippet("quick-reference", "execute(wf)"), coord=self.coordinator, execute=executed.append)
        self.assertEqual([task.workflow_id for task in executed], [id])
        self.assertEqual([self.client.run(of)["status"] for of in (held, id, run)], ["in_progress", "completed", "in_progress"])

    def test_errors_of_a_program_are_recorded(self):
        breaks = mock.Mock(side_effect=RuntimeError("no space left"))
        for execute, status, told in ((lambda workflow: {"lines": 3}, "completed", "'lines': 3"), (breaks, "failed", "no space left")):
            names = dict(coord=self.coordinator, workflow=None, wf_id=self.task(taken=True))
            self.run_snippet(*self.snippet("quick-reference", "except Exception"), execute_workflow=execute, **names)
            task = self.client.call("get_p2p_workflow_status", workflow_id=names["wf_id"])
            self.assertEqual((task["status"], told in str(task)), (status, True))

    def test_the_priorities_that_are_listed_are_taken(self):
        text = self.snippet("quick-reference", "6.0+")[3]
        levels = [float(level) for level in re.findall(r"^(\d\.\d)", text, re.MULTILINE)]
        self.assertEqual(len(levels), 6)
        for level in levels:
            id = self.coordinator.submit_workflow("workflow.yml", priority=level)
            self.assertEqual(self.coordinator.get_workflow_status(id)["priority"], level)


class ClientTest(NodeCase):
    def test_runs_are_submitted_seen_and_cancelled(self):
        by_path = self.client.submit("workflow.yml", name="by path", priority=2)["run"]
        self.assertEqual((by_path["path"], by_path["name"]), ("workflow.yml", "by path"))
        id = unique("run")
        run = self.client.submit(SLOW, id=id)
        self.assertTrue(self.client.submit(SLOW, id=id)["already_so"])
        self.assertIn(run["run"]["id"], [known["id"] for known in self.client.runs(tag="p2p-only")])
        self.client.cancel(id, reason="enough")
        ended = eventually(lambda: next((run for run in self.client.runs(status="cancelled") if run["given_id"] == id), None))
        self.assertIn("enough", ended["reason"])

    def test_a_run_is_followed_to_its_end(self):
        run = self.client.submit(WORKFLOW)["run"]["id"]

        def kept():
            ended.append((yield from self.client.follow(run)))

        ended = []
        items = list(kept())
        self.assertEqual((ended[0]["id"], ended[0]["status"]), (run, "completed"))
        self.assertTrue({"grüß dich", "job_ended"} <= {item.get("text") for item in items} | {item["what"] for item in items})

    def test_events_come_from_the_beginning_or_from_now_on(self):
        run = self.client.submit(WORKFLOW)["run"]["id"]
        with contextlib.closing(self.client.events(from_=0)) as events:
            self.assertEqual(next(event for event in events if event["run"] == run)["author_name"], self.client.call("node_status")["peer"])
        heard = []
        threading.Thread(target=lambda: heard.append(next(self.client.events())), daemon=True).start()
        # when the node begins to listen on behalf of the thread is not said
        self.assertTrue(eventually(lambda: self.task() and heard)[0]["height"] > 1)

    def test_what_is_wrong_is_said(self):
        self.assertIn("p2p_get_next_task", self.refused(404, "unknown", self.client.call, "p2p_next").candidates)
        self.refused(404, "unknown", self.client.run, "nobody knows this")
        self.refused(404, "unknown", next, self.client.follow("nobody knows this"))
        self.refused(400, "bad_input", self.client.call, "get_run")
        self.refused(401, "unauthorised", Client(NODE, "wrong").call, "node_status")
        with mock.patch.dict(os.environ, {"WFENGINE_TOKEN": "", "WFENGINE_DATA_DIR": os.getcwd()}):
            self.refused(401, "unauthorised", Client(NODE).call, "node_status")
        self.refused(409, "conflict", self.client.call, "submit_task", id=self.task(), workflow_id="other")
        listed = self.refused(400, "bad_input", self.coordinator.list_workflows, status="done")
        self.assertIn("pending", listed.candidates)

    def test_what_is_too_much_is_not_sent(self):
        silent = Client("http://127.0.0.1:9", TOKEN)
        self.assertIn("1048", str(self.refused(400, "bad_input", silent.call, "why", id="x" * 2**20)))
        self.refused(400, "bad_input", silent.call, "why", id=float("nan"))
        self.refused(400, "bad_input", silent.call, "why", id=object())
        write("large.yml", "#" * (wfengine.FILE_BYTES_MAX + 1))
        self.refused(413, "too_large", silent.submit, "large.yml")
        write("latin.yml", "name: \xff", "latin-1")
        self.assertIn("byte 6", str(self.refused(400, "bad_input", silent.submit, "latin.yml")))
        for name in ("missing.yml", "."):
            with self.assertRaises(FileNotFoundError):
                silent.submit(name)

    def test_the_token_is_found_and_stays_here(self):
        os.mkdir("wfengine")
        write("wfengine/http-token", TOKEN + "\n")
        nothing = {"WFENGINE_NODE": NODE, "WFENGINE_TOKEN": "", "WFENGINE_DATA_DIR": "", "XDG_DATA_HOME": ""}
        for place in ({"WFENGINE_DATA_DIR": os.path.abspath("wfengine")}, {"XDG_DATA_HOME": os.getcwd()}):
            with self.subTest(place=place), mock.patch.dict(os.environ, {**nothing, **place}):
                self.assertTrue(Client().call("node_status")["serving"])
                self.assertEqual(Client("http://192.0.2.1")._token, "")
                self.assertEqual(Client("http://127.0.0.1.example.org")._token, "")
        os.makedirs(".local/share")
        os.rename("wfengine", ".local/share/wfengine")
        with mock.patch.dict(os.environ, {**nothing, "HOME": os.getcwd()}):
            self.assertTrue(Client().call("node_status")["serving"])

    def test_no_secret_is_in_an_error(self):
        for url in ("http://127.0.0.1:9", "http://[::1]:9", "http://127.0.0.1:99999", "unix:///nowhere", "unix://" + "x" * 300):
            self.assertIn(url, str(self.refused(0, "unreachable", Client(url, TOKEN).call, "node_status")))
        for token in (TOKEN[:9] + "\r\nX: " + TOKEN[9:], TOKEN + "ü"):
            self.assertNotIn(TOKEN[9:], str(self.refused(0, "bad_input", Client, NODE, token)))
        for url in ("ftp://127.0.0.1", "127.0.0.1:8080", f"http://me:{TOKEN}@127.0.0.1", "http://a b", "unix://", "http://[::1",
                    f"http://127.0.0.1/?{TOKEN}"):
            self.refused(0, "bad_input", Client, url, TOKEN)
        # a token goes nowhere in clear text, and where TLS is spoken it is looked for
        for url in ("http://node.example.org:8080", "http://192.0.2.1", "http://127.0.0.1.example.org"):
            self.assertNotIn(TOKEN, str(self.refused(0, "refused", Client, url, TOKEN)))
        self.refused(0, "unreachable", Client("https://127.0.0.1:9", TOKEN).call, "node_status")


@contextlib.contextmanager
def served(answer, kind=socketserver.TCPServer, address=("127.0.0.1", 0)):
    """A server that hands every connection to `answer`, with what begins with the head of the request; its address."""
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.settimeout(20)
            head = b""
            while b"\r\n\r\n" not in head:
                head += self.request.recv(65536) or b"\r\n\r\n"
            with contextlib.suppress(OSError):
                answer(self.request, head)

    with kind(address, Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield "http://127.0.0.1:%d" % server.server_address[1] if kind is socketserver.TCPServer else f"unix://{address}"
        server.shutdown()


def said(status, body, *headers):
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    return lambda connection, request: connection.sendall(head.encode() + b"\r\n\r\n" + body)


class TransportTest(NodeCase):
    def test_answers_that_are_none_of_a_node(self):
        def echo(connection, request):
            given = re.search(rb"Bearer (\S+)", request).group(1).decode()
            body = '{"detail": "you said %s", "kind": "refused", "candidates": ["%s"]}' % (given, given)
            said("403 " + given, body.encode())(connection, request)

        with served(echo) as url:
            told = self.refused(403, "refused", Client(url, TOKEN).call, "node_status")
            self.assertEqual((str(told), told.candidates), ("you said …", ["…"]))
        for status, body, error in (
            ("200 OK", b"[]", (0, "no_answer")), ("200 OK", b"{", (0, "no_answer")), ("200 OK", b"\xff", (0, "no_answer")),
            ("200 OK", b"[" * 100000, (0, "no_answer")), ("502 " + TOKEN, b"<html>", (502, "failure")),
            ("302 Found", b"", (302, "failure")), ("404 Not Found", b'{"detail": 1}', (404, "failure")),
            ("500 Oh", b'{"detail": "x", "kind": "failure", "candidates": 7}', (500, "failure")),
        ):
            with self.subTest(status=status, body=body[:9]), served(said(status, body, "Location: http://127.0.0.1:9/")) as url:
                self.refused(*error, Client(url, TOKEN).call, "node_status")
        raw = (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000)
        for answer in raw:
            with self.subTest(answer=answer[:40]), served(lambda connection, request: connection.sendall(answer)) as url:
                self.refused(0, "no_answer", Client(url, TOKEN).call, "node_status")
        with mock.patch("wfengine.ANSWER_BYTES_MAX", 100), served(said("200 OK", b'{"a": "%s"}' % (b"b" * 100))) as url:
            self.refused(0, "no_answer", Client(url, TOKEN).call, "node_status")

    def test_nobody_waits_for_ever(self):
        with served(lambda connection, request: time.sleep(1)) as url:
            told = self.refused(0, "no_answer", Client(url, TOKEN, timeout=0.1).call, "node_status")
            self.assertIn("before you ask again", str(told))

    def test_a_unix_socket_leads_to_the_node(self):
        node = urllib.parse.urlsplit(NODE)

        def pump(one, other):
            with contextlib.suppress(OSError):
                for chunk in iter(lambda: one.recv(7), b""):
                    other.sendall(chunk)

        def proxy(connection, request):
            with socket.create_connection((node.hostname, node.port or 80), timeout=20) as behind:
                behind.sendall(re.sub(rb"(?i)\r\nhost: [^\r]*", b"\r\nHost: " + node.netloc.encode(), request))
                threading.Thread(target=pump, args=(connection, behind), daemon=True).start()
                pump(behind, connection)

        with served(proxy, socketserver.ThreadingUnixStreamServer, os.path.abspath("proxy.sock")) as url:
            client = Client(url, TOKEN)
            run = client.submit(WORKFLOW)["run"]["id"]
            self.assertIn("job_ended", [item["what"] for item in client.follow(run)])
            self.assertEqual(self.client.run(run)["status"], "completed")
            self.refused(404, "unknown", client.run, "nobody knows this")


class StreamTest(NodeCase):
    STREAM = (b"\xef\xbb\xbfevent: item\ndata: {\"a\": \"gr\xc3\xbc\xc3\x9f\"}\n\n: alive\n\n:\r\n\r\n"
              b"event:item\r\ndata:{\r\ndata: \"b\": 1}\r\nid: 7\r\nretry: 1\r\n\r\n"
              b"data: plain\r\rdata\rdata:  two\r\revent: lost\n\nevent: item\ndata: \xe2\x82\n\n\ndata: cut off")
    EVENTS = [("item", '{"a": "grüß"}'), ("item", '{\n"b": 1}'), ("message", "plain"), ("message", "\n two"), ("item", "\ufffd")]

    def test_events_may_be_cut_anywhere(self):
        self.assertEqual(list(wfengine._events([self.STREAM])), self.EVENTS)
        for size in range(1, len(self.STREAM)):
            chunks = [self.STREAM[start:start + size] for start in range(0, len(self.STREAM), size)]
            self.assertEqual(list(wfengine._events(chunks)), self.EVENTS, size)
        chance = random.Random(7)
        for _ in range(2000):
            cuts = sorted(chance.sample(range(1, len(self.STREAM)), chance.randrange(12)))
            chunks = [self.STREAM[one:two] for one, two in zip([0, *cuts], [*cuts, len(self.STREAM)])]
            self.assertEqual(list(wfengine._events(chunks)), self.EVENTS, cuts)

    def test_an_event_is_bounded(self):
        limit = wfengine.EVENT_BYTES_MAX
        fits = b"data:" + b"x" * (limit - 5) + b"\n\n"
        self.assertEqual([len(data) for _, data in wfengine._events([fits, fits])], [limit - 5] * 2)
        signs = itertools.repeat(b": alive\n", limit // 4)
        self.assertEqual(list(wfengine._events(itertools.chain(signs, [b"data: x\n\n"]))), [("message", "x")])
        for endless in (b"x" * 9, b"data: x\n", b"event: x\n", b": x\r\ndata: x\r\n"):
            self.refused(0, "too_large", list, wfengine._events(itertools.repeat(endless)))

    def test_streams_end_as_they_say(self):
        def chunked(*parts, end=b"0\r\n\r\n"):
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            body = b"".join(b"%x;by=chance\r\n%s\r\n" % (len(part), part) for part in parts)
            return lambda connection, request: connection.sendall(head + body + end)

        item = b'event: item\r\ndata: {"what": "note"}\r\n\r\n'
        with served(chunked(item[:9], item[9:30], item[30:], b"event: end\ndata: {}\n\n")) as url:
            self.assertEqual(list(Client(url, TOKEN).follow("x")), [{"what": "note"}])
        error = b'event: error\ndata: {"kind": "unknown", "detail": "gone, %s", "candidates": ["y"]}\n\n' % TOKEN.encode()
        with served(chunked(item, error)) as url:
            told = self.refused(404, "unknown", list, Client(url, TOKEN).follow("x"))
            self.assertEqual((str(told), told.candidates), ("gone, …", ["y"]))
        for answer in (chunked(item), chunked(item, end=b"9\r\nabc"), chunked(item, end=b"zz\r\n"),
                       chunked(b"event: item\ndata: {\n\n"), chunked(b"event: error\ndata: 7\n\n")):
            with served(answer) as url:
                self.refused(0, "no_answer", list, Client(url, TOKEN).events())


class SchedulerTest(NodeCase):
    def test_the_most_urgent_task_comes_first_and_is_recorded(self):
        scheduler, other = P2PWorkflowScheduler(client=self.client), P2PWorkflowScheduler(client=Client(NODE, TOKEN))
        for urgency in (2, 9, 5):
            task = P2PTask(unique("task"), "kind", f"urgency {urgency}", [WorkflowTag.P2P_ONLY, "gpu"], urgency)
            self.assertTrue(scheduler.submit_task(task))
            self.assertEqual((other.submit_task(task), len(task.task_hash)), (False, 64))
        tasks = [scheduler.get_next_task() for _ in range(3)]
        self.assertEqual([task.priority for task in tasks], [9, 5, 2])
        self.assertEqual(tasks[0].tags, [WorkflowTag.P2P_ONLY, "gpu"])
        self.assertIsNone(other.get_next_task())
        self.assertIn(tasks[1].task_id, other.get_assigned_workflows())
        self.assertEqual(other.get_status()["assigned_tasks"], 3)
        self.assertTrue(scheduler.mark_task_complete(tasks[0].task_id, result={"lines": 3}))
        self.assertEqual(self.client.run(tasks[0].task_id)["jobs"][0]["result"], {"lines": 3})
        self.refused(409, "conflict", scheduler.mark_task_complete, tasks[0].task_id)
        self.refused(404, "unknown", scheduler.mark_task_complete, "nobody knows this")
        self.refused(400, "bad_input", scheduler.submit_task, P2PTask("x", "y", "z", priority=11))

    def test_whoever_lost_a_task_does_not_end_it(self):
        id = self.task()
        late, early = P2PWorkflowScheduler(client=self.client), P2PWorkflowScheduler(client=self.client)
        self.assertEqual(late.get_next_task().task_id, id)
        self.client.call("release_task", id=id)
        self.assertEqual(early.get_next_task().task_id, id)
        self.refused(409, "conflict", late.mark_task_complete, id)
        self.assertTrue(early.mark_task_complete(id))

    def test_the_scheduler_of_the_datasets(self):
        with self.assertWarns(CompatibilityWarning):
            scheduler = P2PWorkflowScheduler(bootstrap_peers=["peer3.invalid"], peers=["peer2.invalid"], client=self.client)
        self.assertLessEqual({"peer2.invalid:4433", "peer3.invalid:4433"}, set(scheduler.peer_list))
        for priority in (3.0, 1.0, 2.0):
            workflow = WorkflowDefinition(unique("wf"), "x", [WorkflowTag.P2P_ELIGIBLE, "code_gen"], priority, metadata={"a": priority})
            result = scheduler.schedule_workflow(workflow)
            self.assertTrue(result["success"] and result["assigned_peer"], result)
        with self.assertWarns(CompatibilityWarning):
            workflows = [scheduler.get_next_workflow() for _ in range(3)]
        self.assertEqual([(work.priority, work.metadata["a"]) for work in workflows], [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)])
        self.assertEqual(workflows[0].tags, [WorkflowTag.P2P_ELIGIBLE, WorkflowTag.CODE_GEN])
        self.assertIsNone(scheduler.get_next_workflow())
        self.assertTrue(scheduler.mark_task_complete(workflows[0].workflow_id))
        self.assertEqual(self.client.run(workflows[0].workflow_id)["status"], "completed")
        refused = scheduler.schedule_workflow(WorkflowDefinition("x", "x", [WorkflowTag.UNIT_TEST]))
        self.assertEqual((refused["success"], refused["reason"]), (False, "Workflow requires GitHub API"))
        both = {"peer_id", "num_peers", "clock", "assigned_workflows", "total_workflows", "known_peers", "pending_tasks", "merkle_clock"}
        self.assertLessEqual(both, set(scheduler.get_status()))
        self.assertTrue(scheduler.add_peer("peer2.invalid") and scheduler.remove_peer("peer2.invalid"))
        self.refused(404, "unknown", scheduler.remove_peer, "peer2.invalid")

    def test_tags(self):
        self.assertIs(WorkflowTag.CODE_GEN, WorkflowTag.CODE_GENERATION)
        self.assertIs(WorkflowTag("P2P-Only"), WorkflowTag.P2P_ONLY)
        self.assertIs(WorkflowTag("web_scrape"), WorkflowTag.WEB_SCRAPING)
        self.assertEqual(len(WorkflowTag), len(self.client.call("get_workflow_tags")["tags"]))
        with self.assertRaises(ValueError):
            WorkflowTag("gpu")
        scheduler = P2PWorkflowScheduler(client=self.client)
        for tags, bypass, only in (([WorkflowTag.P2P_ONLY, "code-generation"], True, True), (["p2p_eligible"], True, False),
                                   ([WorkflowTag.UNIT_TEST, WorkflowTag.GITHUB_API], False, False)):
            self.assertEqual((scheduler.should_bypass_github(tags), scheduler.is_p2p_only(tags)), (bypass, only))

    def test_what_cannot_be_is_said_once(self):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for _ in range(2):
                scheduler = wfengine.get_scheduler(peer_id="somebody else")
                P2PWorkflowCoordinator(peer_id="somebody else", data_dir="/nowhere")
        self.assertIs(scheduler, wfengine.get_scheduler())
        self.assertEqual(scheduler.peer_id, self.client.call("node_status")["peer"])
        texts = [str(warning.message) for warning in told if warning.category is CompatibilityWarning]
        self.assertEqual([text.split("=")[0] for text in texts], ["peer_id", "data_dir"])

    def test_the_async_functions_answer_refusals(self):
        refused = asyncio.run(wfengine.schedule_p2p_workflow("", "x", ["p2p_only"]))
        self.assertEqual((refused["success"], "workflow_id" in refused["error"]), (False, True))
        for called in (wfengine.initialize_p2p_scheduler(), wfengine.get_next_p2p_workflow(), wfengine.get_p2p_scheduler_status()):
            self.assertTrue(asyncio.run(called)["success"])
        self.assertRaises(TypeError, asyncio.run, wfengine.get_next_p2p_workflow("too much"))


class CoordinatorTest(NodeCase):
    def test_files_are_read_submitted_and_listed(self):
        metadata = self.coordinator.parse_workflow_file("workflow.yml")
        self.assertEqual((metadata["name"], metadata["jobs"]), ("P2P-Workflow Client", ["greet"]))
        self.assertTrue(self.coordinator.is_p2p_workflow(metadata))
        self.assertFalse(self.coordinator.is_p2p_workflow({"tags": {"unit-test"}}))
        id = self.coordinator.submit_workflow("workflow.yml", name="twice", priority=2.5)
        eventually(lambda: self.coordinator.get_workflow_status(id)["status"] == "completed")
        self.assertIn(id, [task["workflow_id"] for task in self.coordinator.list_workflows(status=WorkflowStatus.COMPLETED)])
        self.assertGreaterEqual(self.coordinator.get_stats()["status_counts"]["completed"], 1)
        self.assertEqual(self.coordinator.merkle_clock.logical_clock, self.client.call("node_status")["height"])
        self.assertEqual(self.coordinator.peer_list[0], self.coordinator.peer_id)
        write("broken.yml", "jobs: [")
        self.refused(400, "bad_input", self.coordinator.parse_workflow_file, "broken.yml")

    def test_runs_of_files_are_the_nodes(self):
        write("slow.yml", SLOW)
        id = self.coordinator.submit_workflow("slow.yml")
        mine = eventually(lambda: [task for task in self.coordinator.get_my_workflows() if task.workflow_id == id])
        self.assertEqual((mine[0].status, mine[0].tags), (WorkflowStatus.IN_PROGRESS, {"p2p-only", "data-collection"}))
        self.assertIn(id, self.coordinator.assign_workflows())
        with self.assertWarns(CompatibilityWarning):
            self.assertFalse(self.coordinator.update_workflow_status(id, WorkflowStatus.COMPLETED))
        self.assertTrue(self.coordinator.update_workflow_status(id, WorkflowStatus.CANCELLED, error="enough"))
        eventually(lambda: self.client.run(id)["status"] == "cancelled")

    def test_the_tools_answer_refusals(self):
        tools = P2PWorkflowTools(self.client)
        id = tools.submit_p2p_workflow("workflow.yml", inputs=None)["workflow_id"]
        self.assertEqual(tools.get_p2p_workflow_status(id)["workflow_file"], "workflow.yml")
        self.assertTrue(tools.parse_workflow_tags(workflow_file="workflow.yml")["is_p2p"])
        for answer in (tools.submit_p2p_workflow("missing.yml"), tools.parse_workflow_tags("missing.yml"),
                       tools.get_p2p_workflow_status("nobody knows this"), tools.list_p2p_workflows("done"),
                       tools.update_p2p_workflow_status(id, "done"), tools.remove_p2p_peer("nobody.invalid")):
            self.assertEqual((answer["success"], bool(answer["error"])), (False, True))
        for name in ("assign_p2p_workflows", "get_p2p_stats", "get_my_p2p_workflows"):
            self.assertTrue(getattr(tools, name)()["success"])
        self.assertTrue(tools.add_p2p_peer("peer3.invalid")["success"])
        self.refused(0, "unreachable", P2PWorkflowTools(Client("http://127.0.0.1:9", TOKEN)).get_p2p_stats)


def scripted(*answers):
    """Answers calls in place of a node that has a credential: these in turn."""
    return mock.Mock(call=mock.Mock(side_effect=answers))


class DiscoveryTest(NodeCase):
    def test_the_loop_goes_on_and_ends(self):
        found = {"discovered": 2, "submitted": 1, "report": {}, "notes": []}
        client = scripted(WfengineError("later", 503), found, WfengineError("no credential", 403), *[found] * 9)
        service = P2PWorkflowDiscoveryService("octo", 0.01, Record(client=client, get_status=dict))
        with self.assertLogs("wfengine") as told, self.assertRaisesRegex(WfengineError, "no credential"):
            service.start()
        self.assertEqual((len(told.output), client.call.mock_calls), (1, [mock.call("discover_workflows", owner="octo")] * 3))
        service.poll_interval = 3600
        loop = threading.Thread(target=service.start, daemon=True)
        loop.start()
        eventually(lambda: client.call.call_count == 4)
        service.stop()
        loop.join(5)
        self.assertFalse(loop.is_alive())

    def test_one_workflow_is_found_and_submitted(self):
        line = {"owner": "octo", "repo": "ci", "workflow_id": "a.yml", "workflow_path": "a.yml", "workflow_name": "A",
                "tags": ["p2p-only"], "runs": [], "status": "would be submitted"}
        problem, done = {"repository": "octo/ci", "path": "b.yml", "what": "not YAML"}, dict(line, runs=["1f"], status="submitted")
        reports = {"problems": [problem], "workflows": [line]}, {"problems": [], "workflows": [done]}
        client = scripted(*[{"report": report} for report in reports])
        service = P2PWorkflowDiscoveryService(scheduler=Record(client=client))
        with self.assertLogs("wfengine"):
            (discovery,) = service.discover_workflows_in_repo("octo", "ci")
        self.assertEqual((discovery.workflow_name, discovery.tags, discovery.run_id), ("A", ["p2p-only"], None))
        with self.assertWarns(CompatibilityWarning):
            self.assertTrue(service.submit_workflow_to_scheduler(discovery))
        self.assertEqual((discovery.run_id, [call[2]["dry_run"] for call in client.call.mock_calls]), ("1f", [True, False]))


class RunnerTest(NodeCase):
    def test_settings_that_a_node_has_otherwise_are_named(self):
        client = scripted(*[{"success": True, "notes": []}] * 3)
        with self.assertWarnsRegex(CompatibilityWarning, "network_mode 'own' and not 'host'"):
            self.assertTrue(RunnerKit(RunnerConfig(owner="octo", max_runners=3), client).start_autoscaler(background=True))
        settings = dict(owner="octo", poll_interval=120, max_runners=3, runner_image="myoung34/github-runner:latest")
        client.call.assert_called_once_with("runner_start_autoscaler", background=True, **settings)
        wfengine._warned.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            RunnerKit(RunnerConfig(**RunnerKit.GIVEN), client).start_autoscaler()
        with self.assertWarns(CompatibilityWarning):
            self.assertTrue(wfengine.GitHubRunnerAutoscaler(client=client, owner="octo").start())

    def test_runners_are_started_in_one_step(self):
        started = {"success": True, "message": "", "data": {"container_id": "abc123def456", "status": "provisioned"}}
        failed = {"success": False, "message": "Docker is not accessible", "data": {"container_id": None, "status": "failed"}}
        kit = RunnerKit(client=scripted(started, failed))
        with self.assertWarns(CompatibilityWarning):
            token = kit.generate_runner_token("octo/ci")
        self.assertEqual(kit.launch_runner_container("octo/ci", token), "abc123def456")
        with self.assertRaisesRegex(WfengineError, "Docker is not accessible"):
            kit.launch_runner_container("octo/ci", token)

    def test_the_node_says_how_its_runners_get_on(self):
        kit = wfengine.get_runner_kit()
        self.assertTrue(kit.stop_autoscaler())
        self.assertEqual((kit.get_status().running, self.client.call("runner_get_status")["data"]["running"]), (False, False))
        self.assertEqual(len(kit.list_runner_containers()), self.client.call("runner_list_containers")["count"])
        queue = {"repo": "octo/ci", "total_workflows": 3, "running": 1, "failed": 0, "pending": 2}
        (found,) = RunnerKit(client=scripted({"data": [queue]})).get_workflow_queues()
        self.assertEqual((found.repo, found.total, found.pending), ("octo/ci", 3, 2))
