"""The seccomp filter: read by an interpreter of classic BPF written here, and tried on the kernel in children."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from thinkery.sandbox.inside import seccomp

pytestmark = pytest.mark.slow

MACHINES = ("x86_64", "aarch64")
ALLOW = 0x7FFF0000
KILL = 0x80000000
ERRNO = 0x00050000

# A machine's numbers as its kernel headers have them, where they are installed; see ``header_numbers``.
HEADERS = {
    "x86_64": ("asm/unistd_64.h", []),
    "aarch64": ("asm-generic/unistd.h", ["-D__BITS_PER_LONG=64"]),
}
CLONE_NEW_FLAGS = (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK = 1, 2, 10, 16, 17, 38, 40


def evaluate(program: list[seccomp.Instruction], arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel would do: classic BPF over struct seccomp_data, as seccomp(2) and bpf(4) describe it."""
    words = {0: number, 4: arch, 8: 0, 12: 0}
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        words[16 + 8 * index] = value & 0xFFFFFFFF
        words[20 + 8 * index] = value >> 32
    counter, accumulator = 0, 0
    while True:
        code, jump_true, jump_false, k = program[counter]
        counter += 1
        match code:
            case 0x20:
                accumulator = words[k]
            case 0x54:
                accumulator &= k
            case 0x06:
                return k
            case 0x15:
                counter += jump_true if accumulator == k else jump_false
            case 0x25:
                counter += jump_true if accumulator > k else jump_false
            case 0x35:
                counter += jump_true if accumulator >= k else jump_false
            case 0x45:
                counter += jump_true if accumulator & k else jump_false
            case _:
                raise AssertionError(f"instruction {code:#x} is not one the filter should use")


def verdict(machine: str, number: int, *arguments: int, **options: bool) -> int:
    return evaluate(seccomp.filter_program(machine, **options), seccomp.AUDIT_ARCH[machine], number, arguments)


def header_numbers(machine: str) -> dict[str, int]:
    header, flags = HEADERS[machine]
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not any(Path(root, header).exists() for root in ("/usr/include", *_multiarch())):
        pytest.skip(f"no C compiler or no {header}")
    command = [compiler, "-E", "-dM", *flags, "-x", "c", "-"]
    text = subprocess.run(command, input=f"#include <{header}>\n", capture_output=True, text=True, check=True).stdout
    raw = dict(re.findall(r"#define (__NR\w*) (\S+)", text))
    numbers = {}
    for name, value in raw.items():
        while value in raw:
            value = raw[value]
        if value.isdigit():
            numbers[name.removeprefix("__NR_")] = int(value)
    return numbers


def _multiarch() -> list[Path]:
    return list(Path("/usr/include").glob("*-linux-gnu"))


@pytest.mark.parametrize("machine", MACHINES)
def test_the_tables_have_the_numbers_of_the_kernel_headers(machine: str) -> None:
    numbers = header_numbers(machine)
    column = MACHINES.index(machine)
    tables = {**seccomp.DENIED, **seccomp.DENIED_NEW_GROUPS, **seccomp.DECIDED_BY_ARGUMENTS}
    # These came, or are offered to an architecture, later than some distributions' headers know.
    checked = {name: pair[column] for name, pair in tables.items() if pair[column] >= 0 and name in numbers}
    assert len(checked) > 80
    assert checked == {name: numbers[name] for name in checked}
    absent = {name for name, pair in tables.items() if pair[column] < 0}
    assert not absent & numbers.keys()


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_gets_the_answer_its_table_says(machine: str) -> None:
    column = MACHINES.index(machine)
    denied = {pair[column] for pair in seccomp.DENIED.values()}
    by_arguments = {pair[column] for pair in seccomp.DECIDED_BY_ARGUMENTS.values()}
    for number in range(1 << 11):
        if number in by_arguments:
            continue
        if number > seccomp.NEWEST or number == 435:
            expected = ERRNO | errno.ENOSYS
        else:
            expected = ERRNO | errno.EPERM if number in denied else ALLOW
        assert verdict(machine, number) == expected, number


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    program = seccomp.filter_program(machine)
    foreign = [arch for name, arch in seccomp.AUDIT_ARCH.items() if name != machine]
    for arch in [*foreign, 0x40000003, 0x40000028, 0, 0xFFFFFFFF]:  # i386, 32-bit ARM, nonsense
        assert all(evaluate(program, arch, number) == KILL for number in (0, 1, 39, 59, 101, 435))


def test_the_x32_abi_and_nonsense_numbers_do_not_exist() -> None:
    for number in (0x40000000, 0x40000000 | 101, 0x40000000 | 520, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        assert verdict("x86_64", number) == ERRNO | errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_clone_makes_threads_and_processes_but_no_namespaces(machine: str) -> None:
    clone = seccomp.DECIDED_BY_ARGUMENTS["clone"][MACHINES.index(machine)]
    fork, thread = 0x01200011, 0x003D0F00  # as glibc calls it
    assert verdict(machine, clone, fork) == verdict(machine, clone, thread) == ALLOW
    for flag in CLONE_NEW_FLAGS:
        assert verdict(machine, clone, fork | flag) == ERRNO | errno.EPERM
        assert verdict(machine, clone, flag | (1 << 40)) == ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_connected_pairs_of_streams_are_the_only_sockets(machine: str) -> None:
    column = MACHINES.index(machine)
    socket, pair = (seccomp.DECIDED_BY_ARGUMENTS[name][column] for name in ("socket", "socketpair"))
    stream, datagram, raw, seqpacket, flags = 1, 2, 3, 5, 0o2004000  # SOCK_CLOEXEC | SOCK_NONBLOCK
    refused = ERRNO | errno.EAFNOSUPPORT
    for kind in (stream, seqpacket, stream | flags):
        assert verdict(machine, pair, AF_UNIX, kind) == ALLOW
        assert verdict(machine, socket, AF_UNIX, kind) == refused
        # The kernel reads 32 bits of the family; the rest must not fool the filter.
        assert verdict(machine, pair, AF_INET | (AF_UNIX << 32), kind) == refused
    for kind in (datagram, raw, datagram | flags):  # these can write to anybody
        assert verdict(machine, pair, AF_UNIX, kind) == refused
    for family in (0, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK, 0xFFFFFFFF):
        assert verdict(machine, pair, family, stream) == verdict(machine, socket, family, stream) == refused


@pytest.mark.parametrize("machine", MACHINES)
def test_huge_pages_stay_forbidden(machine: str) -> None:
    number = seccomp.DECIDED_BY_ARGUMENTS["prctl"][MACHINES.index(machine)]
    assert verdict(machine, number, 41, 0) == ERRNO | errno.EPERM
    assert verdict(machine, number, 42) == verdict(machine, number, 15) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_shared_memory_has_a_file_that_counts(machine: str) -> None:
    number = seccomp.DECIDED_BY_ARGUMENTS["mmap"][MACHINES.index(machine)]
    shared, private, validate, anonymous, populate = 0x01, 0x02, 0x03, 0x20, 0x8000
    for flags in (shared, private, validate, private | anonymous, private | anonymous | populate):
        assert verdict(machine, number, 0, 4096, 3, flags) == ALLOW
    huge = 0x40000
    for flags in (shared | anonymous, validate | anonymous, shared | anonymous | populate, private | anonymous | huge):
        assert verdict(machine, number, 0, 4096, 3, flags) == ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_other_arguments_that_decide(machine: str) -> None:
    numbers = {name: pair[MACHINES.index(machine)] for name, pair in seccomp.DECIDED_BY_ARGUMENTS.items()}
    refused = ERRNO | errno.EPERM
    assert verdict(machine, numbers["ioctl"], 0, 0x5401) == ALLOW  # TCGETS
    assert verdict(machine, numbers["ioctl"], 0, 0x5412) == refused  # TIOCSTI
    assert verdict(machine, numbers["ioctl"], 0, 0x5412 | (1 << 32)) == refused
    assert verdict(machine, numbers["ioctl"], 0, 0x541C) == refused  # TIOCLINUX
    assert verdict(machine, numbers["prlimit64"], 0, 7) == ALLOW
    assert verdict(machine, numbers["prlimit64"], 1, 7) == refused
    assert verdict(machine, numbers["personality"], 0xFFFFFFFF) == ALLOW
    assert verdict(machine, numbers["personality"], 0x0040000) == refused  # ADDR_NO_RANDOMIZE
    assert verdict(machine, numbers["fcntl"], 1, 4, 2048) == ALLOW
    assert verdict(machine, numbers["fcntl"], 1, 1031, 1 << 20) == refused


@pytest.mark.parametrize("machine", MACHINES)
def test_process_groups_can_be_held_together(machine: str) -> None:
    for pair in seccomp.DENIED_NEW_GROUPS.values():
        number = pair[MACHINES.index(machine)]
        assert verdict(machine, number) == ALLOW
        assert verdict(machine, number, new_groups=False) == ERRNO | errno.EPERM


def test_a_machine_without_a_table_is_refused_by_name() -> None:
    with pytest.raises(OSError, match="no seccomp table for riscv64"):
        seccomp.filter_program("riscv64")


def under_the_filter(action: Callable[[], object], **options: bool) -> object:
    """What ``action`` returns in a forked child that installed the filter first."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            seccomp.install(**options)
            answer = repr(action())
        except BaseException as error:
            answer = repr(f"{type(error).__name__}: {error}")
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return eval(answer) if answer else f"ended with status {status}"


def errors_of_calls(calls: dict[str, tuple[int, ...]]) -> dict[str, int]:
    libc = ctypes.CDLL(None, use_errno=True)
    found = {}
    for name, (number, *arguments) in calls.items():
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(value) for value in arguments])
        found[name] = ctypes.get_errno() if result == -1 else 0
    return found


def here() -> int:
    machine = platform.machine()
    if machine not in MACHINES:
        pytest.skip(f"no table for {machine}")
    return MACHINES.index(machine)


def test_the_kernel_refuses_every_denied_call() -> None:
    column = here()
    calls = {name: (pair[column],) for name, pair in seccomp.DENIED.items() if pair[column] >= 0}
    found = under_the_filter(lambda: errors_of_calls(calls))
    assert found == dict.fromkeys(calls, errno.EPERM)


def test_the_kernel_refuses_arguments() -> None:
    column = here()
    number = {name: pair[column] for name, pair in seccomp.DECIDED_BY_ARGUMENTS.items()}
    calls = {
        "a user namespace": (number["clone"], 0x10000000 | 17),
        "another's limits": (number["prlimit64"], 1, 7),
        "another personality": (number["personality"], 0x0040000),
        "a wider pipe": (number["fcntl"], 1, 1031, 1 << 20),
        "typing into the terminal": (number["ioctl"], 0, 0x5412),
        "the internet": (number["socket"], AF_INET, 1),
        "netlink": (number["socket"], AF_NETLINK, 3),
        "kernel ciphers": (number["socket"], AF_ALG, 5),
        "the hypervisor": (number["socket"], AF_VSOCK, 1),
        "clone3": (435, 0, 0),
        "a call of the future": (seccomp.NEWEST + 1,),
    }
    found = under_the_filter(lambda: errors_of_calls(calls))
    sockets = dict.fromkeys(("the internet", "netlink", "kernel ciphers", "the hypervisor"), errno.EAFNOSUPPORT)
    unknown = dict.fromkeys(("clone3", "a call of the future"), errno.ENOSYS)
    assert found == {**dict.fromkeys(calls, errno.EPERM), **sockets, **unknown}


def test_a_32_bit_call_ends_the_process(tmp_path: Path) -> None:
    if platform.machine() != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("needs gcc on x86_64")
    # getpid of the i386 table, from a 64-bit program: numbers mean other calls there.
    code = 'int main(void) { int pid; __asm__ volatile ("int $0x80" : "=a"(pid) : "a"(20)); return pid > 0 ? 0 : 1; }'
    program = tmp_path / "foreign"
    subprocess.run(["gcc", "-x", "c", "-o", str(program), "-"], input=code, text=True, check=True)
    found = under_the_filter(lambda: subprocess.run([program]).returncode)
    assert found == -31  # SIGSYS


ORDINARY = """
import asyncio, concurrent.futures, multiprocessing, os, socket, subprocess, sys, tempfile, threading, time

def square(number):
    return number * number

async def talk():
    left, right = socket.socketpair()
    reader, keep = await asyncio.open_connection(sock=left)
    other, writer = await asyncio.open_connection(sock=right)
    writer.write(b"hello\\n")
    process = await asyncio.create_subprocess_exec("echo", "child", stdout=subprocess.PIPE)
    return await reader.readline(), (await process.communicate())[0]

if __name__ == "__main__":
    seen = []
    threads = [threading.Thread(target=seen.append, args=(i,)) for i in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(seen) == [0, 1, 2, 3]
    assert subprocess.run(["sh", "-c", "echo $((6 * 7))"], capture_output=True, text=True).stdout == "42\\n"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(square, range(3))) == [0, 1, 4]
    assert asyncio.run(talk()) == (b"hello\\n", b"child\\n")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x")
        with open(path, "w") as file:
            file.write("text")
        os.chmod(path, 0o600)
        os.rename(path, path + "2")
    time.sleep(0.001)
    print("fine")
"""


def test_ordinary_python_programs_work(tmp_path: Path) -> None:
    script = tmp_path / "ordinary.py"
    script.write_text(ORDINARY)
    command = [sys.executable, "-I", str(script)]
    found = under_the_filter(lambda: subprocess.run(command, capture_output=True, text=True, timeout=60).__dict__)
    assert isinstance(found, dict)
    assert found["stderr"] == ""
    assert found["stdout"] == "fine\n"


def test_a_compiler_and_its_program_work(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    source = tmp_path / "a.cpp"
    source.write_text(
        "#include <iostream>\n#include <thread>\n"
        "int main() { int n = 0; std::thread t([&] { n = 42; }); t.join(); std::cout << n; }"
    )
    program = tmp_path / "a"

    def build_and_run() -> str:
        subprocess.run(["g++", "-pthread", "-o", str(program), str(source)], check=True, timeout=60)
        return subprocess.run([str(program)], capture_output=True, text=True, timeout=60).stdout

    assert under_the_filter(build_and_run) == "42"


def test_pairs_work_and_other_sockets_do_not() -> None:
    def talk() -> tuple[bytes, str]:
        import socket

        left, right = socket.socketpair()
        left.send(b"x")
        try:
            socket.socket(socket.AF_UNIX)
        except OSError as error:
            return right.recv(1), errno.errorcode[error.errno or 0]
        return right.recv(1), "a socket"

    assert under_the_filter(talk) == (b"x", "EAFNOSUPPORT")


def test_the_filter_stays_for_programs_started_later() -> None:
    command = [sys.executable, "-I", "-S", "-c", "import socket; socket.socket()"]
    found = under_the_filter(lambda: subprocess.run(command, capture_output=True, text=True).stderr)
    assert "Address family not supported" in str(found)
