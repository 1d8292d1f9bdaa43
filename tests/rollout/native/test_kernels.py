"""The compiled operations against float64 formulas, and how they come to be on a machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from thinkery.rollout.native.cache import BLOCK, Cache, PrefillLayout
from thinkery.rollout.native.kernels import COMPILERS, WIDTHS, Heads, Kernels, kernels

pytestmark = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler on this machine")

DTYPES = [torch.float32, torch.bfloat16]
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
EPSILON = 1e-6


def compiled(dtype: torch.dtype) -> Kernels:
    found = kernels(dtype)
    assert found is not None
    return found


def rms_norm(x: torch.Tensor, weight: torch.Tensor, rounded_to: torch.dtype = torch.float64) -> torch.Tensor:
    """As Qwen3's: rounded before it is weighted."""
    return weight * (x / (x.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt()).to(rounded_to).double()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class Reference:
    """Attention over everything that was ever shown, one row at a time, in float64."""

    def __init__(self, prompts: list[tuple[torch.Tensor, torch.Tensor]], norms: tuple[torch.Tensor, torch.Tensor]):
        self.query_norm, self.key_norm = (norm.double() for norm in norms)
        self.keys = [list(keys.double().unbind(1)) for keys, _ in prompts]  # row -> column -> [Hkv, D]
        self.values = [list(values.double().unbind(1)) for _, values in prompts]

    def attend(self, row: int, qkv: torch.Tensor, key_heads: int, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """qkv [Hq + 2 Hkv, D] of one row -> [Hq, D]."""
        dtype, scaling = qkv.dtype, qkv.shape[-1] ** -0.5
        query, key, value = qkv.double().split([len(qkv) - 2 * key_heads, key_heads, key_heads])
        key = rotate(rms_norm(key, self.key_norm, dtype), cos.double(), sin.double())
        self.keys[row].append(key.to(dtype).double())
        self.values[row].append(value)
        query = rotate(rms_norm(query, self.query_norm, dtype), cos.double(), sin.double()) * scaling
        keys_HTD = torch.stack(self.keys[row], 1).repeat_interleave(len(query) // key_heads, 0)
        values_HTD = torch.stack(self.values[row], 1).repeat_interleave(len(query) // key_heads, 0)
        weights_HT = (keys_HTD @ query.to(dtype).double()[..., None])[..., 0].softmax(-1)
        return (weights_HT[..., None] * values_HTD).sum(1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("key_heads", "group"), [(2, 1), (1, 2), (2, 3)])
def test_attention(dtype: torch.dtype, width: int, key_heads: int, group: int) -> None:
    torch.manual_seed(0)
    lengths, counts, heads = [5, 3], [3, 2], key_heads * group
    problem_S = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    prefilled = PrefillLayout()
    prefilled.group = group
    keys, values = (torch.randn(2, key_heads, 5, width).to(dtype) for _ in range(2))
    prefilled.keys_values = [(torch.zeros_like(keys), torch.zeros_like(values)), (keys, values)]  # the second layer's
    cache = Cache([prefilled], torch.tensor(lengths), problem_S, dtype)
    norms = torch.rand(width) + 0.5, torch.rand(width) + 0.5
    prompts = [(keys[p, :, : lengths[p]], values[p, :, : lengths[p]]) for p in problem_S.tolist()]
    reference = Reference(prompts, norms)
    given = Heads(heads, key_heads, width, *(norm.data_ptr() for norm in norms), EPSILON, width**-0.5)
    angles = torch.rand(100, width // 2) * 6
    cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)
    rows = list(range(len(problem_S)))
    for step in range(2 * BLOCK + 3):
        if step == BLOCK + 2:  # rows leave, and with them a prompt
            rows = rows[3:]
            cache.keep(torch.tensor(rows))
        cache.advance()
        qkv = torch.randn(len(rows), heads + 2 * key_heads, width).to(dtype)
        positions = torch.tensor([lengths[int(problem_S[row])] + step for row in rows])
        out = torch.empty(len(rows), heads, width, dtype=dtype)
        compiled(dtype).attend(cache.view(), given, 1, qkv, positions, cos, sin, out)
        for place, row in enumerate(rows):
            at = positions[place]
            want = reference.attend(row, qkv[place], key_heads, cos[at], sin[at])
            torch.testing.assert_close(out[place].double(), want, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_more", [True, False])
def test_norm_of_a_sum(dtype: torch.dtype, with_more: bool) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(5, 96), torch.rand(96)
    more = torch.randn(5, 96).to(dtype) if with_more else None
    want_sum = hidden + (0 if more is None else more.float())
    out = torch.full((5, 96), 7.0, dtype=dtype)
    compiled(dtype).add_norm(4, hidden, more, weight, EPSILON, out)
    torch.testing.assert_close(hidden[:4], want_sum[:4], atol=0, rtol=0)
    want = rms_norm(want_sum.double(), weight.double())
    torch.testing.assert_close(out[:4].double(), want[:4], atol=1e-6, rtol=TOLERANCE[dtype] / 4)
    assert (out[4] == 7).all()  # beyond the rows that were asked for


@pytest.mark.parametrize("dtype", DTYPES)
def test_gate(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    gate_up, out = (8 * torch.randn(6, 192)).to(dtype), torch.empty(6, 96, dtype=dtype)
    gate_up[0, :4] = torch.tensor([-200.0, 200.0, 0.0, -87.5])
    compiled(dtype).gate(6, gate_up, out)
    gate, up = gate_up.double().chunk(2, -1)
    torch.testing.assert_close(out.double(), gate * gate.sigmoid() * up, atol=1e-6, rtol=TOLERANCE[dtype] / 2)


def test_what_is_not_a_number_stays_visible() -> None:
    hidden = torch.zeros(2, 64)
    hidden[1, 3] = torch.nan
    out = torch.empty(2, 64, dtype=torch.bfloat16)
    compiled(torch.bfloat16).add_norm(2, hidden, None, torch.ones(64), EPSILON, out)
    assert out[0].isfinite().all()
    assert out[1].isnan().all()


LOAD = (
    "from thinkery.rollout.native.kernels import kernels, words; import torch; "
    "print(kernels(torch.bfloat16) is None, words())"
)


def load(cache: Path, **environment: str) -> str:
    """What a new process finds: whether there is nothing, and the words for people."""
    variables = os.environ | {"XDG_CACHE_HOME": str(cache)} | environment
    return subprocess.run(
        [sys.executable, "-c", LOAD], env=variables, check=True, capture_output=True, text=True
    ).stdout


def compiler(path: Path, refuse: str) -> str:
    """A compiler that refuses a flag."""
    real = shutil.which("c++") or shutil.which("g++")
    path.write_text(f'#!/bin/sh\ncase " $* " in *" {refuse} "*) exit 1;; esac\nexec {real} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.slow
def test_it_is_compiled_once(tmp_path: Path) -> None:
    first = load(tmp_path)
    kept = list((tmp_path / "thinkery").iterdir())
    assert [str(path) for path in kept] == [first.split()[1]]
    made = kept[0].stat().st_mtime_ns
    assert load(tmp_path) == first
    assert [path.stat().st_mtime_ns for path in (tmp_path / "thinkery").iterdir()] == [made]


@pytest.mark.slow
def test_a_folder_that_nothing_can_be_kept_in_is_no_obstacle() -> None:
    assert load(Path("/dev/null/nowhere")).startswith("False")


@pytest.mark.slow
def test_without_openmp_it_does_without_threads(tmp_path: Path) -> None:
    found = load(tmp_path / "cache", CXX=compiler(tmp_path / "cxx", "-fopenmp"))
    assert found.startswith("False")
    library = ctypes.CDLL(found.split()[1])  # loads without torch's OpenMP beside it
    assert library.attend_bfloat16


@pytest.mark.slow
def test_without_a_compiler_that_works_there_is_none(tmp_path: Path) -> None:
    assert load(tmp_path / "cache", CXX=compiler(tmp_path / "cxx", "-c")).startswith("True none;")
    assert load(tmp_path / "cache", CXX="", PATH="/nowhere").startswith("True none;")
    assert not list(tmp_path.glob("cache/thinkery/*"))
