"""Where this process's control groups are: /proc/self/cgroup against /proc/self/mountinfo.

Sources: cgroups(7), proc_pid_mountinfo(5).
"""

from __future__ import annotations

from typing import Final

CONTROLLERS: Final = ("memory", "pids")


def find_own_directories() -> dict[str, str]:
    """`own_directories` of this process; empty without /proc."""
    try:
        with open("/proc/self/cgroup") as groups, open("/proc/self/mountinfo", errors="surrogateescape") as mounts:
            return own_directories(groups.read(), mounts.read())
    except OSError:
        return {}


def own_directories(cgroup: str, mountinfo: str) -> dict[str, str]:
    """Where this process's groups are: by controller for version 1, as "unified" for version 2. Pure.

    Args:
        cgroup, mountinfo: what /proc/self/cgroup and /proc/self/mountinfo say.
    """
    paths: dict[str, str] = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(",") if controllers else ["unified"]:
            paths[controller] = path
    found: dict[str, str] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        root, mount = (_unescaped(field) for field in before.split(" ")[3:5])
        kind, _, options = after.split(" ", 2)
        names = {"cgroup": options.split(","), "cgroup2": ["unified"]}.get(kind, [])
        for name in ("unified", *CONTROLLERS):
            path = paths.get(name, "/..")
            # A group that is outside what is mounted here, as /.. or another root says, cannot be reached.
            reachable = f"{path}/".startswith(f"{root.rstrip('/')}/") and ".." not in path.split("/")
            if name in names and name not in found and reachable:
                found[name] = f"{mount}/{path[len(root.rstrip('/')) :].strip('/')}".rstrip("/")
    return found


def _unescaped(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
