"""Landlock by itself in child processes, and attacks on the isolation that is built without bubblewrap."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from thinkery.sandbox import Limits, Program, Sandbox, Status
from thinkery.sandbox.inside import landlock
from thinkery.sandbox.isolation import probe

pytestmark = pytest.mark.slow

needs_landlock = pytest.mark.skipif(landlock.abi() == 0, reason="no Landlock in this kernel")
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc", sys.base_prefix)


def since(version: int) -> None:
    if landlock.abi() < version:
        pytest.skip(f"Landlock ABI {landlock.abi()}, and this came with {version}")


def in_a_domain(action: Callable[[], object], readable: tuple[str, ...] = (), writable: tuple[str, ...] = ()) -> str:
    """The name of the error ``action`` meets in a forked child under Landlock; its result, as text, if none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            landlock.restrict(readable, writable, ["/dev/null"])
            answer = str(action())
        except OSError as error:
            answer = errno.errorcode[error.errno or 0]
        except BaseException as error:
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


# Rights and struct sizes of each version, from the tables of the kernel's documentation.
@pytest.mark.parametrize(
    ("version", "files", "size"),
    [
        (1, 0x1FFF, 8),
        (2, 0x3FFF, 8),
        (3, 0x7FFF, 8),
        (4, 0x7FFF, 16),
        (5, 0xFFFF, 16),
        (6, 0xFFFF, 24),
        (7, 0xFFFF, 24),
    ],
)
def test_each_version_is_asked_for_what_it_knows(version: int, files: int, size: int) -> None:
    attributes = landlock.ruleset(version)
    assert len(attributes) == size
    assert struct.unpack_from("=Q", attributes)[0] == files
    assert all(value == 3 for value in struct.unpack(f"={size // 8 - 1}Q", attributes[8:]))


@needs_landlock
def test_files_can_be_read_only_where_allowed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "file").write_text("text")
    (tmp_path / "secret").write_text("secret")
    allowed = (str(tmp_path / "open"), "/nowhere/at/all")
    assert in_a_domain((tmp_path / "open" / "file").read_text, allowed) == "text"
    assert in_a_domain((tmp_path / "secret").read_text, allowed) == "EACCES"
    assert in_a_domain(lambda: os.listdir(tmp_path), allowed) == "EACCES"
    assert in_a_domain(lambda: (tmp_path / "open" / ".." / "secret").read_text(), allowed) == "EACCES"
    (tmp_path / "open" / "link").symlink_to(tmp_path / "secret")
    assert in_a_domain((tmp_path / "open" / "link").read_text, allowed) == "EACCES"


@needs_landlock
def test_a_single_file_can_be_allowed(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_text(name)
    assert in_a_domain((tmp_path / "one").read_text, (str(tmp_path / "one"),)) == "one"
    assert in_a_domain((tmp_path / "other").read_text, (str(tmp_path / "one"),)) == "EACCES"


@needs_landlock
def test_files_can_be_changed_only_where_allowed(tmp_path: Path) -> None:
    for name in ("read", "write"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("before")
    paths = {"readable": (str(tmp_path / "read"),), "writable": (str(tmp_path / "write"),)}
    read, write = tmp_path / "read", tmp_path / "write"
    for change in (
        lambda: (read / "file").write_text("after"),
        lambda: (read / "new").touch(),
        lambda: (read / "new").mkdir(),
        lambda: (read / "new").symlink_to("/"),
        lambda: os.mkfifo(read / "new"),
        lambda: (read / "file").unlink(),
        lambda: (tmp_path / "new").touch(),
    ):
        assert in_a_domain(change, **paths) == "EACCES"
    assert in_a_domain(lambda: (read / "file").rename(write / "taken"), **paths) in ("EACCES", "EXDEV")
    assert in_a_domain(lambda: os.link(read / "file", write / "taken"), **paths) in ("EACCES", "EXDEV")
    assert in_a_domain(lambda: os.mknod(write / "null", 0o20666, os.makedev(1, 3)), **paths) in ("EACCES", "EPERM")
    assert [path.name for path in read.iterdir()] == ["file"]
    assert (read / "file").read_text() == "before"
    assert in_a_domain(lambda: (write / "file").write_text("after"), **paths) == "5"
    assert in_a_domain(lambda: (write / "file").rename(write / "renamed"), **paths) == str(write / "renamed")
    assert (write / "renamed").read_text() == "after"


@needs_landlock
def test_files_elsewhere_cannot_be_cut_short(tmp_path: Path) -> None:
    since(3)
    (tmp_path / "file").write_text("before")
    assert in_a_domain(lambda: os.truncate(tmp_path / "file", 0), (str(tmp_path),)) == "EACCES"
    assert (tmp_path / "file").read_text() == "before"


@needs_landlock
def test_tcp_ports_are_closed() -> None:
    since(4)

    def call(method: str, address: tuple[str, int]) -> object:
        with socket.socket() as caller:
            return getattr(caller, method)(address)

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert in_a_domain(lambda: call("connect", address)) == "EACCES"
        assert in_a_domain(lambda: call("bind", ("127.0.0.1", 0))) == "EACCES"


@needs_landlock
def test_signals_and_abstract_sockets_end_at_the_border() -> None:
    since(6)
    name = f"\0thinkery-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        assert in_a_domain(lambda: socket.socket(socket.AF_UNIX).connect(name)) == "EPERM"
    assert in_a_domain(lambda: os.kill(os.getppid(), 0)) == "EPERM"
    assert in_a_domain(lambda: os.kill(os.getpid(), 0)) == "None"


@needs_landlock
def test_processes_outside_cannot_be_traced() -> None:
    def attach() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(16, os.getppid(), 0, 0) != 0:  # PTRACE_ATTACH
            raise OSError(ctypes.get_errno(), "ptrace")
        return 0

    assert in_a_domain(attach) == "EPERM"


@needs_landlock
def test_programs_can_be_executed_where_readable(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo works"]
    assert in_a_domain(lambda: subprocess.run(command, capture_output=True).stdout, SYSTEM) == "b'works\\n'"
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho no")
    script.chmod(0o755)
    assert in_a_domain(lambda: subprocess.run([script]), SYSTEM) == "EACCES"


# The whole level: every attack is made for real, and what it could have done is looked for on the host.


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    if not probe("landlock").works:
        pytest.skip(f"not here: {probe('landlock').detail}")
    with Sandbox(workers=2, isolation="landlock") as sandbox:
        yield sandbox


PREAMBLE = """
import ctypes, errno, json, os, platform, signal, socket, struct, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
SYSCALL = dict(zip(("ptrace", "mount", "unshare", "setns", "clone", "chroot", "keyctl", "bpf", "process_vm_readv",
                    "pivot_root", "memfd_create", "init_module", "reboot", "kill", "socket", "perf_event_open"),
                   (101, 165, 272, 308, 56, 161, 250, 321, 310, 155, 319, 175, 169, 62, 41, 298)
                   if platform.machine() == "x86_64" else
                   (117, 40, 97, 268, 220, 51, 219, 280, 270, 41, 279, 105, 142, 129, 198, 241)))
found = {}

def attempt(name, action):
    try:
        found[name] = "done: %r" % (action(),)
    except OSError as error:
        found[name] = "refused: " + errno.errorcode.get(error.errno, repr(error))
    except BaseException as error:
        found[name] = "refused: %r" % error

def call(name, *arguments):
    ctypes.set_errno(0)
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(SYSCALL[name] if isinstance(name, str) else name), *wide)
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result

"""


def attack(sandbox: Sandbox, code: str, limits: Limits | None = None, **host: object) -> dict[str, str]:
    """What each attempt in ``code`` came to; ``host`` are values of the host's that the program is told."""
    told = "".join(f"{name} = {value!r}\n" for name, value in host.items())
    source = PREAMBLE + told + textwrap.dedent(code) + "\nprint(json.dumps(found))\n"
    result = sandbox.run(Program(source), "", limits or Limits())
    assert result.ok, result
    found = json.loads(result.stdout)
    assert found
    return {str(name): str(outcome) for name, outcome in found.items()}


def refused(found: dict[str, str]) -> bool:
    done = {name: outcome for name, outcome in found.items() if not outcome.startswith("refused: ")}
    assert not done
    return True


@needs_landlock
def test_a_run_is_in_a_landlock_domain(sandbox: Sandbox) -> None:
    # Its namespaces would let it: that a device takes no commands is Landlock's doing alone.
    code = """
    import fcntl
    attempt("ioctl", lambda: fcntl.ioctl(open("/dev/null"), 0x1234))
    """
    expected = "EACCES" if landlock.abi() >= 5 else "ENOTTY"
    assert expected in attack(sandbox, code)["ioctl"]


def test_files_of_the_host_cannot_be_read(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    tmp_path.chmod(0o755)
    code = """
    for path in (secret, folder, "/etc/passwd", "/etc/shadow", "/root", "/home", "/var/log", "/proc/1/environ", "/sys",
                 "/proc/self/environ", "/dev/mem", "/dev/kmsg", "/run", "/proc/%d/root/etc/passwd" % pid, source,
                 "/proc/kcore", "/proc/self/cwd/../etc/passwd", "/old", "/tmp/../root/.ssh"):
        attempt(path, lambda: os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(100))
    """
    source = str(Path(__file__).resolve())
    assert refused(attack(sandbox, code, secret=str(secret), folder=str(tmp_path), pid=os.getpid(), source=source))


def test_the_host_cannot_be_written_to(sandbox: Sandbox, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "file").write_text("before")
    (tmp_path / "file").chmod(0o666)
    folders = [str(tmp_path), "/", "/usr", "/usr/lib", "/usr/local", "/etc", "/dev", "/var/tmp", "/thinkery"]
    code = """
    for folder in folders:
        path = os.path.join(folder, name)
        attempt("create " + path, lambda: open(path, "w").write("x"))
        attempt("mkdir " + path, lambda: os.mkdir(path))
        attempt("link " + path, lambda: os.symlink("/", path))
    attempt("append", lambda: open(file, "a").write("x"))
    attempt("truncate", lambda: os.truncate(file, 0))
    attempt("chmod", lambda: os.chmod("/usr/bin/env", 0o777))
    attempt("touch", lambda: os.utime("/usr/bin/env"))
    attempt("remount", lambda: call("mount", b"", b"/", b"", 32 | 4096, b""))
    attempt("device", lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0)))
    """
    name = f"thinkery-{os.getpid()}"
    assert refused(attack(sandbox, code, folders=folders, name=name, file=str(tmp_path / "file")))
    assert not [folder for folder in folders if os.path.lexists(os.path.join(folder, name))]
    assert (tmp_path / "file").read_text() == "before"


def test_there_is_no_network(sandbox: Sandbox, tmp_path: Path) -> None:
    abstract, path = f"\0thinkery-{os.getpid()}", str(tmp_path / "socket")
    tmp_path.chmod(0o777)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0)))]
        for address in (abstract, path):
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(address)
            server.listen()
            servers.append(server)
        os.chmod(path, 0o777)
        code = """
        attempt("internet", lambda: socket.create_connection(("127.0.0.1", port), 1))
        attempt("internet 6", lambda: socket.socket(socket.AF_INET6))
        attempt("datagrams", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        attempt("names", lambda: socket.getaddrinfo("example.org", 80))
        for family in (16, 17, 38, 40):
            attempt("family %d" % family, lambda: call("socket", family, 3, 0))
        attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect(abstract))
        attempt("path", lambda: socket.socket(socket.AF_UNIX).connect(path))
        attempt("docker", lambda: socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock"))
        """
        assert refused(attack(sandbox, code, port=servers[0].getsockname()[1], abstract=abstract, path=path))
        for server in servers:
            server.settimeout(0)
            with pytest.raises(BlockingIOError):
                server.accept()


def test_processes_of_the_host_are_out_of_reach(sandbox: Sandbox) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        try:
            code = """
            for pid in pids:
                attempt("kill %d" % pid, lambda: os.kill(pid, 9))
                attempt("trace %d" % pid, lambda: call("ptrace", 16, pid, 0, 0))
                attempt("read %d" % pid, lambda: call("process_vm_readv", pid, 0, 0, 0, 0, 0))
                attempt("memory %d" % pid, lambda: open("/proc/%d/mem" % pid, "rb"))
                attempt("pidfd %d" % pid, lambda: os.pidfd_open(pid))
                attempt("slow down %d" % pid, lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
            attempt("trace the first", lambda: call("ptrace", 16, 1, 0, 0))
            attempt("limit the first", lambda: __import__("resource").prlimit(1, 7, (0, 0)))
            """
            assert refused(attack(sandbox, code, pids=[victim.pid, os.getpid(), os.getppid()]))
            everyone = Program("import os; os.kill(-1, 9); print('on')")
            sandbox.run(everyone)
            assert victim.poll() is None
        finally:
            victim.kill()
    assert sandbox.run(Program("print('on')")).stdout == "on\n"


def test_rights_cannot_be_won_back(sandbox: Sandbox) -> None:
    code = """
    for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        attempt("unshare %x" % flag, lambda: call("unshare", flag))
        attempt("clone %x" % flag, lambda: call("clone", flag | 17, 0, 0, 0, 0))
    attempt("clone3", lambda: call(435, struct.pack("=8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64))
    attempt("unshare, the program", lambda: subprocess.run(["unshare", "-Ur", "true"], check=True))
    attempt("chroot", lambda: os.chroot("/tmp"))
    attempt("mount", lambda: call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, b""))
    attempt("bind", lambda: call("mount", b"/usr", b"/tmp", b"", 4096, b""))
    attempt("pivot", lambda: call("pivot_root", b"/tmp", b"/tmp"))
    attempt("root", lambda: os.setuid(0))
    attempt("group", lambda: os.setgroups([0]))
    attempt("keys", lambda: call("keyctl", 0, -3, 1))
    attempt("bpf", lambda: call("bpf", 0, 0, 0))
    attempt("perf", lambda: call("perf_event_open", 0, 0, -1, -1, 0))
    attempt("module", lambda: call("init_module", 0, 0, 0))
    attempt("nameless file", lambda: call("memfd_create", b"x", 0))
    attempt("more memory", lambda: __import__("resource").setrlimit(9, (-1, -1)))
    attempt("sysctl", lambda: open("/proc/sys/user/max_user_namespaces", "w"))
    attempt("host name", lambda: socket.sethostname("x"))
    attempt("clock", lambda: time.clock_settime(time.CLOCK_REALTIME, 0))
    attempt("ping with its file capability", lambda: subprocess.run(["ping", "-c1", "127.0.0.1"], check=True))
    """
    assert refused(attack(sandbox, code))


def test_a_run_has_no_environment_and_no_capability(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINKERY_TEST_SECRET", "the secret")
    code = """
    found["environment"] = json.dumps(dict(os.environ))
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    found["capabilities"] = str(list(sets))
    found["user"] = str([os.getuid() == 0, os.geteuid() == 0, os.getgroups().count(0)])
    found["no new rights"] = str(libc.prctl(39, 0, 0, 0, 0))
    found["others"] = str([pid for pid in range(1, 200) if pid != os.getpid() and os.getsid(0) != pid and alive(pid)])
    """
    alive = "def alive(pid):\n    try: os.kill(pid, 0)\n    except ProcessLookupError: return False\n    return True\n"
    with Sandbox(workers=1, isolation="landlock") as fresh:
        found = attack(fresh, alive + textwrap.dedent(code))
    assert "the secret" not in str(found)
    assert found["capabilities"] == str([0] * 6)
    assert found["user"] == "[False, False, 0]"
    assert found["no new rights"] == "1"
    assert found["others"] in ("[]", "[1]")  # 1 is the run's own first process


def test_runs_are_strangers(sandbox: Sandbox) -> None:
    leave = "open('/tmp/left', 'w').write('x'); open('/dev/shm/shared', 'w'); print('done')"
    assert sandbox.run(Program(leave)).stdout == "done\n"
    for _ in range(4):
        assert sandbox.run(Program("import os; print(os.listdir('/tmp'))")).stdout == "['program.py']\n"


def names_of_processes() -> list[bytes]:
    names = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                names.append((folder / "comm").read_bytes())
    return names


@pytest.mark.parametrize("ends", ["print('fine')", "while True: pass"])
def test_daemons_die_with_their_run(sandbox: Sandbox, ends: str) -> None:
    name = f"thk{os.getpid() % 10**6}"
    code = f"""
import ctypes, os, signal, time
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"{name}", 0, 0, 0)
            for number in range(1, 32):
                try: signal.signal(number, signal.SIG_IGN)
                except OSError: pass
            while True: time.sleep(1)
        os._exit(0)
time.sleep(0.05)
{ends}
"""
    result = sandbox.run(Program(code), "", Limits(wall_s=1.0))
    assert result.status is (Status.OK if ends.startswith("print") else Status.TIMEOUT)
    assert f"{name}\n".encode() not in names_of_processes()


def test_a_fork_bomb_ends_and_leaves_nothing(sandbox: Sandbox) -> None:
    name = f"thb{os.getpid() % 10**6}"
    bomb = f"import ctypes, os\nctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0)\nwhile True:\n    os.fork()\n"
    result = sandbox.run(Program(bomb), "", Limits(wall_s=2.0))
    assert result.status in (Status.ERROR, Status.TIMEOUT)
    assert f"{name}\n".encode() not in names_of_processes()


def test_the_limit_on_processes_counts_those_of_the_run(sandbox: Sandbox) -> None:
    code = """
import os, time
started = 0
try:
    while started < 100:
        if os.fork() == 0:
            time.sleep(600)
        started += 1
except BlockingIOError:
    print(started)
"""
    assert sandbox.run(Program(code), "", Limits(processes=5)).stdout == "4\n"


def test_memory_and_files_are_limited(sandbox: Sandbox) -> None:
    limits = Limits(memory_bytes=128 << 20, disk_bytes=16 << 20, file_bytes=64 << 20, wall_s=10.0)
    free = shutil.disk_usage("/tmp").free
    full = sandbox.run(Program("f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * 2**20)"), "", limits)
    assert full.status is Status.ERROR
    assert "No space left" in full.stderr
    big = sandbox.run(Program("b'x' * 2**28"), "", limits)
    assert big.status is Status.MEMORY
    together = "import os, time\nfor _ in range(4): os.fork()\nx = b'x' * (30 << 20)\ntime.sleep(9)"
    assert sandbox.run(Program(together), "", limits).status is Status.MEMORY
    assert shutil.disk_usage("/tmp").free > free - (1 << 30)


def test_cpp_programs_compile_and_run(sandbox: Sandbox) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    source = "#include <iostream>\nint main() { long n; std::cin >> n; std::cout << n * n << '\\n'; }"
    assert sandbox.run(Program(source, "cpp"), "12").stdout == "144\n"
    leak = '#include "/etc/passwd"\nint main() {}'
    result = sandbox.run(Program(leak, "cpp"))
    assert result.status is Status.COMPILE_ERROR
    assert "root:" not in result.stderr


def test_ordinary_programs_work(sandbox: Sandbox) -> None:
    code = """
import asyncio, multiprocessing, os, subprocess, tempfile, threading

def double(x):
    return 2 * x

if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        print(pool.map(double, [1, 2]))
    threading.Thread(target=print, args=("thread",)).start()
    print(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout)
    asyncio.run(asyncio.sleep(0))
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write("x")
    open("/dev/null", "w").write("x")
    print(len(os.urandom(8)), len(open("/dev/urandom", "rb").read(8)))
"""
    result = sandbox.run(Program(code))
    assert result.ok, result
    assert sorted(result.stdout.split()) == ["4]", "8", "8", "[2,", "child", "thread"]


def test_the_server_dies_with_its_sandbox() -> None:
    before = set(descendants(os.getpid()))
    with Sandbox(workers=1, isolation="landlock") as sandbox:
        assert sandbox.run(Program("print(1)")).stdout == "1\n"
        servers = watched(set(descendants(os.getpid())) - before)
    assert all_end(servers)


def test_the_server_dies_with_the_process_that_made_it() -> None:
    code = (
        "import sys, time\nfrom thinkery.sandbox import Program, Sandbox\n"
        "sandbox = Sandbox(workers=1, isolation='landlock')\n"
        "sandbox.run(Program('print(1)'))\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        servers = watched(descendants(owner.pid))
        owner.send_signal(signal.SIGKILL)
    assert all_end(servers)


def watched(pids: Collection[int]) -> list[int]:
    assert pids
    return [os.pidfd_open(pid) for pid in pids]


def all_end(descriptors: list[int]) -> bool:
    """Whether all these processes end within half a minute."""
    deadline = time.monotonic() + 30
    ended = [bool(select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]) for fd in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    return all(ended)


def descendants(pid: int) -> list[int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [child for child, parent in parents.items() if parent == pid]
    return found + [deeper for child in found for deeper in descendants(child)]
