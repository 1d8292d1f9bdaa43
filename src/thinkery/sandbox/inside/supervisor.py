"""Runs from the outside, one after the other: takes the host's request, has the zygote fork it, watches it, reports.

What the run writes is read up to its limit and never further; whatever goes over a limit ends the run by killing the
first process of its PID namespace, and the kernel takes the rest. The exit status comes from that first process,
over a pipe the program never holds. Left out: what the run may do (``jail``, ``program``), how its use is measured
(``watch``).
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import resource
import select
import signal
import socket
import struct
import time
from typing import Any, NoReturn

from . import frames, inherited, jail, program
from .server import ENDED, FIRST
from .watch import Watch

READ_BYTES = 1 << 16
CLOCKS_APART_S = 0.1  # the kernel enforces a limit by ticks, and reports time more exactly
TO_A_PROGRAM = {frames.MESSAGE: frames.MAX_MESSAGE_BYTES, frames.NO_MORE: 0, frames.STOP: 1000}
_ADD_SEALS, _ALL_SEALS = 1033, 0xF  # fcntl's, which Python has no names for before 3.13 (seal, shrink, grow, write)


class OverLimit(Exception):  # noqa: N818 - an event
    """The run went over a limit: (status, reason)."""


def supervise(host: socket.socket, zygote: socket.socket, config: dict[str, Any]) -> NoReturn:
    """Do the host's requests until it or the zygote is gone."""
    ours = {name for name in os.listdir("/proc") if name.isdigit()}
    run: ProgramRun | None = None
    try:
        frames.send(host, frames.READY)
        while True:
            request, code, stdin = next_request(host)
            if config["process_limit_is_ours"]:
                # Beside the program's processes there are ours, and the first of its namespace if it is another one.
                others = len(ours) + (request["kind"] != "python")
                request["process_limit"] = others + request["limits"]["processes"]
            run = ProgramRun(host, zygote, ours, request)
            run.start(code, stdin)
            run.drive()
            run.report()
            run = None
    except (frames.ProtocolError, OSError, struct.error) as error:
        if run is not None:
            run.kill()
        give_up(error)  # the zygote ends for want of a supervisor, and the kernel ends the rest


def give_up(error: Exception) -> NoReturn:
    """End, and say to a host that is still there why: a limit may have refused something."""
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # else the zygote has said why
        with contextlib.suppress(OSError):
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(1)


def next_request(host: socket.socket) -> tuple[dict[str, Any], bytes, bytes]:
    """(request, program, standard input) of the next run, as the host sends them."""
    kind = b""
    while kind != frames.REQUEST:  # anything else crossed the end of the program that it was for
        kind, payload = frames.receive(host, {frames.REQUEST: frames.MAX_JSON_BYTES, **TO_A_PROGRAM})
    code = frames.receive(host, {frames.PROGRAM: frames.MAX_INPUT_BYTES})[1]
    stdin = frames.receive(host, {frames.STDIN: frames.MAX_INPUT_BYTES})[1]
    return frames.decode_json(payload), code, stdin


class ProgramRun:
    """The state of one run."""

    def __init__(self, host: socket.socket, zygote: socket.socket, ours: set[str], request: dict[str, Any]) -> None:
        self.host = host
        self.zygote = zygote
        self.request = request
        self.limits: dict[str, Any] = request["limits"]
        self.ours = ours
        self.output = {1: bytearray(), 2: bytearray()}
        self.channel: socket.socket | None = None
        self.outgoing = bytearray()  # to the program's channel
        self.incoming = bytearray()  # from it
        self.asked = False  # the host waits for a message
        self.status = "lost"
        self.reason = ""
        self.exit_code: int | None = None
        self.reported = bytearray()
        self.first = 0  # the pid of the first process, once it is there
        self.artifact = b""

    def start(self, code: bytes, stdin: bytes) -> None:
        """Have the zygote fork the run."""
        self.stdout_fd, stdout_write = os.pipe()
        self.stderr_fd, stderr_write = os.pipe()
        self.report_fd, report_write = os.pipe()
        given = [report_write, _sealed(code), _sealed(stdin), stdout_write, stderr_write]
        if self.request["converse"]:
            self.channel, theirs = socket.socketpair()
            self.channel.setblocking(False)
            given.append(theirs.detach())
        self.began = time.monotonic()
        socket.send_fds(self.zygote, [marshal.dumps(self.request)], given)
        for descriptor in given:
            os.close(descriptor)
        (self.first,) = FIRST.unpack(self.zygote.recv(FIRST.size))
        self.watch = Watch(self.first, self.ours, self.limits)

    def drive(self) -> None:
        """Feed and watch the run until it has ended or was ended."""
        for descriptor in (self.stdout_fd, self.stderr_fd, self.report_fd):
            os.set_blocking(descriptor, False)
        try:
            self._pump()
        except OverLimit as stopped:
            self.status, self.reason = stopped.args
            self.kill()
        # After this word the pipes have no writer left.
        self.first_status, waited_for_s = ENDED.unpack(self.zygote.recv(ENDED.size))
        self.cpu_s = max(waited_for_s, self.watch.cpu_s)
        self.wall_s = time.monotonic() - self.began
        try:
            self._read_rest()
        except OverLimit as stopped:
            if self.status == "lost":
                self.status, self.reason = stopped.args
        if self.status == "lost":
            self._judge()

    def kill(self) -> None:
        """End all that runs, if anything does."""
        if self.first:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.first, signal.SIGKILL)

    def report(self) -> None:
        """Tell the host how the run ended."""
        for descriptor in (self.stdout_fd, self.stderr_fd, self.report_fd):
            os.close(descriptor)
        if self.channel is not None:
            self.channel.close()
        frames.send(self.host, frames.STDOUT, self.output[1])
        frames.send(self.host, frames.STDERR, self.output[2])
        frames.send(self.host, frames.ARTIFACT, self.artifact)
        done = {
            "status": self.status,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
        }
        frames.send_json(self.host, frames.DONE, done)

    def _pump(self) -> None:
        """Move bytes until the zygote says that the run's namespace is dead."""
        poll = select.poll()
        poll.register(self.stdout_fd, select.POLLIN)
        poll.register(self.stderr_fd, select.POLLIN)
        poll.register(self.report_fd, select.POLLIN)
        poll.register(self.host, select.POLLIN)
        poll.register(self.zygote, select.POLLIN)
        deadline = self.began + self.limits["wall_s"]
        next_look = self.began + self.watch.first_look_s
        while True:
            self._register_channel(poll)
            now = time.monotonic()
            if now >= deadline:
                raise OverLimit("timeout", f"over {self.limits['wall_s']:g} s of wall time")
            if now >= next_look:
                self._look()
                next_look = time.monotonic() + self.watch.every_s
            ready = poll.poll(max(0.0, min(deadline, next_look) - now) * 1000 + 1)
            for descriptor, _ in ready:
                if descriptor == self.zygote.fileno():
                    return
                if descriptor == self.report_fd:
                    if not self._read_report():
                        poll.unregister(self.report_fd)
                elif descriptor == self.host.fileno():
                    self._hear_host()
                elif self.channel is not None and descriptor == self.channel.fileno():
                    self._use_channel(poll)
                elif not self._read_output(1 if descriptor == self.stdout_fd else 2, descriptor):
                    poll.unregister(descriptor)

    def _look(self) -> None:
        over = self.watch.look()
        if over is not None:
            raise OverLimit(*over)

    def _read_report(self) -> bool:
        part = os.read(self.report_fd, 1 << 20)
        self.reported += part
        return bool(part)

    def _read_output(self, number: int, descriptor: int) -> bool:
        """Read once; False at the end. Raises Stopped once there is more than the limit."""
        output = self.output[number]
        limit = int(self.limits["output_bytes"])
        part = os.read(descriptor, min(READ_BYTES, limit - len(output) + 1))
        output += part
        if len(output) > limit:
            del output[limit:]
            name = "standard output" if number == 1 else "standard error"
            raise OverLimit("output", f"over {limit} bytes of {name}")
        return bool(part)

    def _read_rest(self) -> None:
        """Read what the dead run has left in its pipes.

        A pipe that would block is at its end as well: who holds the other side is dead, even if the descriptor isn't.
        """
        with contextlib.suppress(BlockingIOError):
            while self._read_report():
                pass
        stopped: OverLimit | None = None
        for number, descriptor in ((1, self.stdout_fd), (2, self.stderr_fd)):
            try:
                while self._read_output(number, descriptor):
                    pass
            except BlockingIOError:
                continue
            except OverLimit as error:
                stopped = error
        if stopped is not None:
            raise stopped

    def _judge(self) -> None:
        """Turn the wait status, or the report where there is one, into the run's."""
        status, rest = self.first_status, bytes(self.reported)
        if rest:
            kind, status = jail.REPORT.unpack_from(rest)
            rest = rest[jail.REPORT.size :]
            if kind == jail.FAILED:
                self.reason = f"the run could not be set up: {rest.decode('utf-8', 'replace')}"
                return
        elif self.request["kind"] != "python":
            self.reason = "the run's first process died"
            return
        low, ended_by = self._lowered(), 0
        if os.WIFSIGNALED(status):
            ended_by = os.WTERMSIG(status)
            self.exit_code = -ended_by
            self.status, self.reason = "error", f"ended by {_signal_name(ended_by)}"
            cpu_s = min(self.limits["cpu_s"], low.get(resource.RLIMIT_CPU, self.limits["cpu_s"]))
            if ended_by == signal.SIGKILL and resource.RLIMIT_CPU in low and self.cpu_s > cpu_s - CLOCKS_APART_S:
                ended_by = signal.SIGXCPU  # the hard limit kills at once
            if ended_by == signal.SIGXCPU:
                self.status, self.reason = "timeout", f"over {cpu_s:g} s of CPU time"
        else:
            self.exit_code = os.WEXITSTATUS(status)
            self.status = "ok" if self.exit_code == 0 else "error"
        if self.status == "error" and _ran_out_of_memory(self.output[2]):
            self.status = "memory"
        told = inherited.blamed(low, self.status, ended_by, self.request["kind"] == "compile")
        self.reason = "; ".join(filter(None, (self.reason, told)))
        if self.request["artifact"] and self.status == "ok":
            self._take_artifact(rest)

    def _lowered(self) -> dict[int, int]:
        """The limits of this run that the machine lowers, with what is left of them."""
        return inherited.lowered({which: pair[1] for which, pair in program.wanted_limits(self.request).items()})

    def _take_artifact(self, rest: bytes) -> None:
        kind, length = jail.REPORT.unpack_from(rest)
        content = rest[jail.REPORT.size :]
        if kind != jail.ARTIFACT or len(content) != length or length > self.limits["file_bytes"]:
            self.status, self.reason = "lost", "the compiler's file did not arrive whole"
        else:
            self.artifact = content

    # The conversation.

    def _register_channel(self, poll: select.poll) -> None:
        if self.channel is None:
            return
        wanted = (select.POLLIN if self.asked else 0) | (select.POLLOUT if self.outgoing else 0)
        if wanted:
            poll.register(self.channel, wanted)
        else:
            with contextlib.suppress(KeyError):
                poll.unregister(self.channel)

    def _hear_host(self) -> None:
        kind, payload = frames.receive(self.host, TO_A_PROGRAM)
        if kind == frames.STOP:
            raise OverLimit("timeout", payload.decode("utf-8", "replace"))
        if self.channel is None:
            return
        if kind == frames.NO_MORE:
            self.channel.shutdown(socket.SHUT_WR)
            return
        self.outgoing += struct.pack(">I", len(payload)) + payload
        self.asked = True

    def _use_channel(self, poll: select.poll) -> None:
        assert self.channel is not None
        try:
            if self.outgoing:
                with contextlib.suppress(BlockingIOError):
                    del self.outgoing[: self.channel.send(self.outgoing[:READ_BYTES])]
        except OSError:  # the program closed its end
            self.outgoing.clear()
        if not self.asked:
            return
        try:
            part = self.channel.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            poll.unregister(self.channel)
            self.channel.close()
            self.channel = None
            return
        self.incoming += part
        self._forward_message()

    def _forward_message(self) -> None:
        size = frames.CHANNEL_HEADER.size
        if len(self.incoming) < size:
            return
        (length,) = frames.CHANNEL_HEADER.unpack_from(self.incoming)
        if length > frames.MAX_MESSAGE_BYTES:
            raise OverLimit("output", f"a message of {length} bytes; at most {frames.MAX_MESSAGE_BYTES} are allowed")
        if len(self.incoming) >= size + length:
            message = bytes(self.incoming[size : size + length])
            del self.incoming[: size + length]
            self.asked = False
            frames.send(self.host, frames.MESSAGE, message)


def _sealed(content: bytes) -> int:
    """A descriptor of a file in memory with this content, at its beginning, which nobody can change any more."""
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", buffering=0, closefd=False) as file:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, _ADD_SEALS, _ALL_SEALS)
    return descriptor


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _ran_out_of_memory(stderr: bytearray) -> bool:
    """Whether a program that failed says it was refused memory: the limit on address space is a refusal, not a kill."""
    last_lines = bytes(stderr[-2000:]).rstrip().rsplit(b"\n", 3)
    return last_lines[-1].startswith(b"MemoryError") or any(b"std::bad_alloc" in line for line in last_lines)
