"""Addresses that lead nowhere, told at once. Where there is a cluster the other tests of this folder connect to it."""

from __future__ import annotations

import socket

import pytest
import ray

from thinkery.cluster.connect import connect
from thinkery.recipe import ClusterSpec
from thinkery.types import UserError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_answers_is_refused_at_once(scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match=f"--cluster {address}: no Ray cluster answers at {address}"):
        connect(address, ClusterSpec())
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["cluster", "ray://cluster", "host:port", ":6379"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="write host:port, ray://host:port, auto or local"):
        connect(address, ClusterSpec())


def test_the_running_cluster_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"--cluster auto: no Ray cluster answers at 127\.0\.0\.1:1 "):
        connect("auto", ClusterSpec())
