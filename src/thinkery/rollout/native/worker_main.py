"""The process of a CPU worker: samples shares from policies that another process made known, whose weights it maps.

It ends at once when the other end of its pipe closes, which the system does for whatever way the other process ends.
Left out: learning; everything that a call needs besides (``worker_processes.py`` sends it).
"""

from __future__ import annotations

import gc
import os
import pickle
import queue
import threading
import traceback
from multiprocessing import reduction
from multiprocessing.connection import Connection

import torch

from thinkery.machine.shared_weights import unpack
from thinkery.models.loading import Policy
from thinkery.rollout.base import StopConditions
from thinkery.rollout.native.engine import DecodingCall
from thinkery.rollout.native.worker_processes import READY, AddPolicy, DropPolicy, SampleShare, StopSampling, Unfinished


def main(descriptor: int) -> None:
    """Works for whoever holds the other end of this socket, until that is closed."""
    _Receiver(Connection(descriptor)).work()


class _Receiver:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heard: queue.SimpleQueue[tuple[AddPolicy | DropPolicy | SampleShare, int]] = queue.SimpleQueue()
        self._interrupts: dict[int, threading.Event] = {}  # of the last run that was asked for
        self._known: dict[int, tuple[Policy, StopConditions]] = {}

    def work(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        self._connection.send(READY)
        while True:
            message, descriptor = self._heard.get()
            if isinstance(message, SampleShare):
                self._connection.send(self._run(message))
            elif isinstance(message, AddPolicy):
                policy = unpack(message.policy, descriptor)
                self._known[message.number] = policy, StopConditions(policy)
            else:
                del self._known[message.number]
                gc.collect()  # a model's modules refer to one another

    def _listen(self) -> None:
        """Hears what is said while a run goes on, and the end of the pipe."""
        try:
            while True:
                message = self._connection.recv()
                if isinstance(message, StopSampling):
                    if message.number in self._interrupts:
                        self._interrupts[message.number].set()
                else:
                    if isinstance(message, SampleShare):
                        self._interrupts = {message.number: threading.Event()}
                    descriptor = reduction.recv_handle(self._connection) if isinstance(message, AddPolicy) else -1
                    self._heard.put((message, descriptor))
        except (EOFError, OSError):
            os._exit(0)

    def _run(self, task: SampleShare) -> Unfinished | Exception:
        """Sends what each burst finished; returns the last word."""
        try:
            torch.set_num_threads(task.threads)
            policy, ends = self._known[task.policy]
            call = DecodingCall(policy, task.share, ends.rule(task.share.ends), self._interrupts[task.number])
            for finished in call.run():
                self._connection.send(finished)
        except Exception as error:
            return _portable(error)
        return Unfinished(tuple(call.unfinished))


def _portable(error: Exception) -> Exception:
    """The error as another process can have it, with the place where it happened."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"In a sampling worker's process:\n{traceback.format_exc()}")
    return error
