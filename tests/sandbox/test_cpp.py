"""C++ programs: compiled once, run often; what the compiler says comes back; nobody reaches another one's binary."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable

import pytest

from thinkery.sandbox import Limits, Program, RunResult, Sandbox, Status
from thinkery.sandbox import cpp as compiling
from thinkery.types import UserError

pytestmark = pytest.mark.slow

Run = Callable[..., RunResult]
has_compiler = pytest.mark.skipif(not shutil.which("g++", path="/usr/bin:/bin"), reason="there is no g++ here")

ADD = "#include <iostream>\nint main() { long a, b; std::cin >> a >> b; std::cout << a + b << '\\n'; }"


@has_compiler
def test_a_program_is_compiled_once_for_many_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ADD + "// only here"
    with Sandbox(workers=2) as sandbox:
        assert sandbox.run(Program(source, "cpp"), "1 1").stdout == "2\n"
        monkeypatch.setattr(compiling, "compiler", lambda: "/nowhere/g++")  # a second compilation could only fail
        results = [sandbox.submit(Program(source, "cpp"), f"{a} {a}") for a in range(20)]
        assert [result.result(timeout=30).stdout for result in results] == [f"{2 * a}\n" for a in range(20)]
        assert sandbox.run(Program(source + " ", "cpp")).status is Status.COMPILE_ERROR


@has_compiler
def test_modern_cpp_works(cpp: Run) -> None:
    source = """
#include <bits/stdc++.h>
template <typename T> concept Number = std::is_arithmetic_v<T>;
template <Number T> T twice(T x) { return x * 2; }
int main() {
    std::vector<int> v(5);
    std::iota(v.begin(), v.end(), 1);
    auto even = v | std::views::filter([](int x) { return x % 2 == 0; });
    std::thread t([] {});
    t.join();
    for (int x : even) std::cout << twice(x) << ' ';
}
"""
    assert cpp(source).stdout == "4 8 "


@has_compiler
def test_a_compile_error_says_why(cpp: Run) -> None:
    result = cpp("int main() {\n  return undeclared;\n}")
    assert result.status is Status.COMPILE_ERROR
    assert "program.cpp:2:" in result.stderr
    assert "undeclared" in result.stderr
    assert result.stdout == ""


@has_compiler
@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/hostname", "/proc/self/environ", "/dev/stdin", "/root/.bashrc"])
def test_an_include_reads_nothing_of_the_host(path: str, cpp: Run) -> None:
    result = cpp(f'#include "{path}"\nint main() {{}}')
    assert result.status is Status.COMPILE_ERROR or path == "/dev/stdin"
    assert "root:" not in result.stderr


@has_compiler
def test_a_program_that_fails_is_an_error_with_its_signal(cpp: Run) -> None:
    aborted = cpp("#include <cassert>\nint main() { assert(1 == 2); }")
    assert (aborted.status, aborted.exit_code) == (Status.ERROR, -6)
    assert "1 == 2" in aborted.stderr
    crashed = cpp("int main() { volatile int *nowhere = nullptr; *nowhere = 1; }")
    assert (crashed.status, crashed.exit_code) == (Status.ERROR, -11)
    assert cpp("int main() { return 3; }").exit_code == 3


@has_compiler
def test_deep_recursion_has_a_stack(cpp: Run) -> None:
    source = """
#include <cstdio>
long depth(long n) { volatile char frame[100]; frame[0] = 1; return n ? depth(n - 1) + frame[0] : 0; }
int main() { std::printf("%ld", depth(200000)); }
"""
    assert cpp(source).stdout == "200000"


@has_compiler
@pytest.mark.parametrize(
    "source",
    [
        "template <int N> struct A { A<N + 1> a; A<N + 2> b; }; A<0> x; int main() {}",
        "char big[1 << 30] = {1}; int main() {}",
        "constexpr int f(int n) { return n < 2 ? n : f(n - 1) + f(n - 2); } static_assert(f(60)); int main() {}",
    ],
)
def test_a_bomb_for_the_compiler_goes_off_inside(
    source: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "LIMITS", dataclasses.replace(compiling.LIMITS, wall_s=2.0))
    assert sandbox.run(Program(source, "cpp")).status is Status.COMPILE_ERROR
    assert sandbox.run(Program("int main() { return 0; }", "cpp")).ok


@has_compiler
def test_memory_refused_is_memory(cpp: Run) -> None:
    source = "#include <vector>\nint main() { std::vector<int> v; for (;;) v.resize(v.size() + 1000000, 1); }"
    assert cpp(source, memory_bytes=128 << 20).status is Status.MEMORY


@has_compiler
def test_a_run_cannot_change_the_binary_of_the_next(cpp: Run) -> None:
    vandal = """
#include <cstdio>
#include <fstream>
#include <unistd.h>
int main(int, char **argv) {
    std::remove(argv[0]);
    std::ofstream(argv[0]) << "#!/bin/sh\\necho replaced\\n";
    std::puts("first");
}
"""
    assert [cpp(vandal).stdout for _ in range(3)] == ["first\n"] * 3


def test_binaries_not_used_for_longest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "CACHE_BYTES", 100)
    cache = compiling.BinaryCache()
    for name in (b"a", b"b"):
        cache.put(name, name * 50)
    assert cache.get(b"a") == b"a" * 50
    cache.put(b"c", b"c" * 50)
    assert [cache.get(name) is not None for name in (b"a", b"b", b"c")] == [True, False, True]


def test_without_a_compiler_the_message_says_what_to_install(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(UserError, match="install the package 'g\\+\\+'"):
        sandbox.run(Program("int main() { return 99; }", "cpp"), limits=Limits())
