"""Writes to control groups and kernel settings, which run programs on the host."""

# expect: ok | wall_s=3 | both

import os

won = []
for path in (
    "/sys/fs/cgroup/release_agent",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sysrq-trigger",
    "/proc/self/oom_score_adj",
    "/proc/1/oom_score_adj",
    "/proc/self/uid_map",
):
    try:
        os.close(os.open(path, os.O_WRONLY))
        won.append(path)
    except OSError:
        pass
print(won)
os._exit(len(won))
