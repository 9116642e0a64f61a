"""Write a classifier plugin for DispatchAI in Python.

A classifier is an object with a name, a version, the fields that it may set, and a
method that answers for one issue:

    from dispatchai import Answer, Result, serve

    class Crashes:
        name, version, fields = "crashes", "1.0.0", ["category"]

        def classify(self, request):
            if "panic:" not in request.issue.body or not request.accepts("category", "bug"):
                return Result()  # nothing to say: abstain
            return Result({"category": Answer("bug", 0.9, "The text quotes a panic.")})

    if __name__ == "__main__":
        serve(Crashes())

It may have two methods more, which DispatchAI calls only where they are there:
configure(settings) is given the operator's settings, what was read of a JSON object, or None, and raises
ValueError for what is wrong with them; embed(texts) makes a vector of each text and
goes with embedding = Embedding("my-model-1", 384).

classify is called by several threads at once. It raises Refused where it cannot answer;
any other exception counts as a fault of the plugin in answering for this issue. What
is printed, to standard error best, goes to the host's log under the plugin's name.

The protocol is proto/dispatchai/classifier/v1/classifier.proto; classifier.binpb beside
this file is its description, as protoc writes it. Learning is not offered here.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import signal
import stat
import sys
import tempfile
import threading
from concurrent import futures
from pathlib import Path
from typing import Any, Mapping, Sequence

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELDS = ("category", "priority", "severity", "component", "tags", "effort", "assignees", "summary", "sentiment")
PROTOCOL_VERSION = 1
MAX_MESSAGE_BYTES = 8 << 20
THREADS = 8


@dataclasses.dataclass
class Answer:
    """What a field is, how likely that is right (0 to 1), and why, in one sentence."""

    values: str | Sequence[str]
    confidence: float
    reason: str = ""


@dataclasses.dataclass
class Result:
    """What is said about an issue. A field without an answer is an abstention."""

    fields: Mapping[str, Answer] = dataclasses.field(default_factory=dict)
    reasoning: str = ""
    hold: str = ""  # why a person must look before anything is written
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


@dataclasses.dataclass
class Issue:
    number: int = 0
    title: str = ""
    body: str = ""
    author: str = ""
    author_association: str = ""
    labels: Sequence[str] = ()
    created_at: datetime.datetime | None = None
    updated_at: datetime.datetime | None = None
    truncated: bool = False


@dataclasses.dataclass
class Similar:
    """A neighbour of the issue, with what is held to be true of it."""

    number: int = 0
    title: str = ""
    similarity: float = 0.0
    fields: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    corrected: Sequence[str] = ()  # the fields that a person said


@dataclasses.dataclass
class Option:
    """A value that a field may take in the repository, and the repository's label for it."""

    value: str
    label: str = ""
    description: str = ""


@dataclasses.dataclass
class Repository:
    id: int = 0
    full_name: str = ""
    options: Mapping[str, Sequence[Option]] = dataclasses.field(default_factory=dict)
    settings: Any = None


@dataclasses.dataclass
class Request:
    issue: Issue
    repository: Repository = dataclasses.field(default_factory=Repository)
    similar: Sequence[Similar] = ()
    wanted: Sequence[str] = ()  # the fields that are still open; all when empty

    def accepts(self, field: str, value: str) -> bool:
        """Whether an answer of this value would be taken."""
        if self.wanted and field not in self.wanted:
            return False
        options = self.repository.options.get(field, ())
        if not options:
            return field in ("assignees", "summary", "sentiment")
        return any(option.value == value for option in options)


@dataclasses.dataclass
class Embedding:
    """The space of embed's vectors. Its name changes when the vectors do."""

    name: str
    dimensions: int


class Refused(Exception):
    """The issue cannot be answered for: ever (permanent), or for some seconds (retry_after)."""

    def __init__(self, message: str, permanent: bool = False, retry_after: float = 0.0):
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after


def serve(classifier: Any) -> None:
    """Make this process the plugin: answer the host that started it until the host is gone."""
    if os.environ.get("DISPATCHAI_PLUGIN") != "classifier":
        sys.exit(
            "This program is a plugin, which DispatchAI starts. Try it with\n"
            "  dispatchai plugin test PATH\n  dispatchai demo --plugin NAME=PATH"
        )
    offered = os.environ.get("PLUGIN_PROTOCOL_VERSIONS", str(PROTOCOL_VERSION)).split(",")
    if str(PROTOCOL_VERSION) not in offered:
        sys.exit(f"This plugin speaks version {PROTOCOL_VERSION} of the protocol, and the host {', '.join(offered)}.")
    hello, sys.stdout = sys.stdout, sys.stderr  # standard output carries the greeting alone
    server, stopped = _server(classifier)
    with tempfile.TemporaryDirectory() as spare:
        path = os.path.join(os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or spare, f"plugin{os.getpid()}")
        server.add_insecure_port("unix:" + path)
        server.start()
        print(f"1|{PROTOCOL_VERSION}|unix|{path}|grpc", file=hello, flush=True)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host decides
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        threading.Thread(target=_watch_host, args=(stopped,), daemon=True).start()
        stopped.wait()
        server.stop(grace=1).wait()


def _watch_host(stopped: threading.Event) -> None:
    """The host holds standard input open for as long as it is there."""
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        while os.read(0, 4096):
            pass
        stopped.set()
        return
    parent = os.getppid()
    while not stopped.wait(1):
        if os.getppid() != parent:
            stopped.set()


def _messages() -> dict[str, Any]:
    """The classes of the protocol's messages, made of its description."""
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString((Path(__file__).parent / "classifier.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    found = {}
    for file in files.file:
        for message in file.message_type:
            name = f"{file.package}.{message.name}"
            found[message.name] = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    return found


_M = _messages()
_NUMBERS = {field: number for number, field in enumerate(FIELDS, start=1)}


def _field(number: int) -> str:
    return FIELDS[number - 1] if 0 < number <= len(FIELDS) else ""


def _server(classifier: Any) -> tuple[grpc.Server, threading.Event]:
    """A server that answers for the classifier, and what is set when the host ends it."""
    stopped = threading.Event()
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=4 * THREADS),
        options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", MAX_MESSAGE_BYTES)],
    )
    workers = futures.ThreadPoolExecutor(max_workers=THREADS)

    def shutdown(_request: bytes, _context: grpc.ServicerContext) -> bytes:
        stopped.set()
        return b""

    def healthy(_request: bytes, _context: grpc.ServicerContext) -> bytes:
        return b"\x08\x01"  # SERVING

    def raw(behaviour: Any) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(behaviour)

    def typed(behaviour: Any, request: str, response: str) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            behaviour, request_deserializer=_M[request].FromString, response_serializer=_M[response].SerializeToString
        )

    methods = {
        "Describe": typed(lambda _r, _c: _describe(classifier), "DescribeRequest", "DescribeResponse"),
        "Classify": typed(lambda r, c: _classify(classifier, workers, r, c), "ClassifyRequest", "ClassifyResponse"),
    }
    if hasattr(classifier, "configure"):
        methods["Configure"] = typed(lambda r, c: _configure(classifier, r, c), "ConfigureRequest", "ConfigureResponse")
    if hasattr(classifier, "embed"):
        methods["Embed"] = typed(lambda r, c: _embed(classifier, r, c), "EmbedRequest", "EmbedResponse")
    # A method without a handler is answered with UNIMPLEMENTED.
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("dispatchai.classifier.v1.ClassifierService", methods),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": raw(healthy)}),
            grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": raw(shutdown)}),
        )
    )
    return server, stopped


def _describe(classifier: Any) -> Any:
    described = _M["DescribeResponse"](name=classifier.name, version=classifier.version, max_batch=getattr(classifier, "max_batch", 0))
    described.fields.extend(_NUMBERS[field] for field in classifier.fields)
    if hasattr(classifier, "configure"):
        described.capabilities.append(1)
    if hasattr(classifier, "embed"):
        described.capabilities.append(2)
        described.embedding.name = classifier.embedding.name
        described.embedding.dimensions = classifier.embedding.dimensions
    return described


def _configure(classifier: Any, request: Any, context: grpc.ServicerContext) -> Any:
    try:
        classifier.configure(json.loads(request.settings) if request.settings else None)
    except Exception as fault:  # whatever it is, the operator must hear of it
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(fault) or type(fault).__name__)
    return _M["ConfigureResponse"]()


def _embed(classifier: Any, request: Any, context: grpc.ServicerContext) -> Any:
    response = _M["EmbedResponse"]()
    try:
        vectors = classifier.embed([(text.title, text.body) for text in request.texts])
    except Exception as fault:
        context.abort(grpc.StatusCode.INTERNAL, str(fault) or type(fault).__name__)
    for values in vectors:
        response.vectors.add().values.extend(values)
    return response


def _classify(classifier: Any, workers: futures.Executor, request: Any, context: grpc.ServicerContext) -> Any:
    repositories = [_repository(r) for r in request.repositories]

    def answer(item: Any) -> Any:
        outcome = _M["Outcome"](id=item.id)
        if not context.is_active():  # nobody waits any more
            outcome.error.message = "the host has given up"
            return outcome
        try:
            _tell(outcome.classification, classifier.classify(_request(item, repositories[item.repository])))
        except Refused as refused:
            outcome.error.message = str(refused)[:1000]
            outcome.error.permanent = refused.permanent
            if refused.retry_after > 0:
                outcome.error.retry_after.FromMilliseconds(int(1000 * refused.retry_after))
        except Exception as fault:
            outcome.error.message = f"{type(fault).__name__}: {fault}"[:1000]
        return outcome

    return _M["ClassifyResponse"](outcomes=list(workers.map(answer, request.items)))


def _tell(classification: Any, result: Result) -> None:
    for field, answer in result.fields.items():
        if field not in _NUMBERS:
            raise ValueError(f"there is no field {field!r}; there are {', '.join(FIELDS)}")
        values = [answer.values] if isinstance(answer.values, str) else list(answer.values)
        classification.answers.add(field=_NUMBERS[field], values=values, confidence=answer.confidence, reason=answer.reason)
    classification.reasoning = result.reasoning
    classification.hold = result.hold
    classification.usage.input_tokens = result.input_tokens
    classification.usage.output_tokens = result.output_tokens
    classification.usage.cost_usd = result.cost_usd


def _repository(r: Any) -> Repository:
    options = {_field(o.field): [Option(v.value, v.label, v.description) for v in o.options] for o in r.options}
    return Repository(r.id, r.full_name, options, json.loads(r.settings) if r.settings else None)


def _request(item: Any, repository: Repository) -> Request:
    i = item.issue
    issue = Issue(
        i.number, i.title, i.body, i.author, i.author_association, list(i.labels),
        _time(i, "created_at"), _time(i, "updated_at"), i.truncated,
    )
    similar = [
        Similar(s.number, s.title, s.similarity, {_field(f.field): list(f.values) for f in s.fields}, [_field(f) for f in s.corrected])
        for s in item.similar
    ]
    return Request(issue, repository, similar, [_field(f) for f in item.wanted])


def _time(message: Any, name: str) -> datetime.datetime | None:
    if not message.HasField(name):
        return None
    return getattr(message, name).ToDatetime(tzinfo=datetime.timezone.utc)
