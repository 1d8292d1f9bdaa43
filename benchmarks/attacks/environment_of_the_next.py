"""Sets variables, a library to preload, limits, a mask and handlers for whoever comes next."""

# expect: ok | wall_s=3 | twice

import os
import resource
import signal

for name, value in {"LD_PRELOAD": "/tmp/evil.so", "PYTHONPATH": "/tmp", "PYTHONSTARTUP": "/tmp/x.py"}.items():
    os.environ[name] = value
with open("/tmp/evil.so", "wb") as file:
    file.write(b"\x7fELF")
os.umask(0)
for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
os.nice(19)
os.sched_setaffinity(0, {0})
os.chdir("/")
