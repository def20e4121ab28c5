"""Processes of a run: started on their processors, measured from /proc, and none of them left behind."""

import ctypes
import os
import signal
import socket
import subprocess
import threading
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
_running = []


def start(command, cores, folder, name, **options):
    """A process of its own group on these processors; it gets SIGTERM should this one be killed."""

    def prepare():
        os.sched_setaffinity(0, cores)
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    with open(folder / f"{name}.log", "ab") as log:
        options.setdefault("stdout", log)
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(command, stderr=log, preexec_fn=prepare, start_new_session=True, **options)
    _running.append(process)
    return process


def stop(process):
    """Asks, waits, and then ends the whole group: a worker must not outlive its master."""
    if process in _running:
        _running.remove(process)
    for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


class Deadline:
    """Ends a process that takes longer, so that whoever reads its output gets on."""

    def __init__(self, process, seconds):
        self.timer = threading.Timer(seconds, process.kill)
        self.timer.daemon = True
        self.timer.start()

    def cancel(self):
        self.timer.cancel()


def stop_all():
    for process in list(reversed(_running)):
        stop(process)


def tail(folder, name, lines=5):
    try:
        return "\n".join((folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def wait_for(process, ports, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if all(accepts(port) for port in ports):
            return True
        time.sleep(0.05)
    return False


_given_ports = set()


def free_port():
    """Below the range of outgoing connections, so that none of them sits on it."""
    for port in range(15000 + os.getpid() % 8000, 31000):
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_ports.add(port)
        return port
    raise RuntimeError("no free port between 15000 and 31000")


def family(root):
    """The process and all that descend from it."""
    found, open_ones = [], [root]
    while open_ones:
        pid = open_ones.pop()
        found.append(pid)
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children") as children:
                    open_ones += [int(child) for child in children.read().split()]
        except OSError:
            continue
    return found


def processor_nanoseconds(root):
    """What the scheduler has counted for every thread of the family: finer than the ticks of /proc/PID/stat."""
    total = 0
    for pid in family(root):
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                    total += int(file.read().split()[0])
            except OSError:
                continue
    return total


def memory_kilobytes(root):
    """Resident, and proportional (pages that processes share are divided among them), over the family."""
    sums = {"Rss": 0, "Pss": 0}
    for pid in family(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                for line in file:
                    name, _, value = line.partition(":")
                    if name in sums:
                        sums[name] += int(value.split()[0])
        except OSError:
            continue
    return sums["Rss"], sums["Pss"]


def core_ticks(core):
    """(busy, stolen, all) of one processor since the machine's start."""
    with open("/proc/stat") as file:
        for line in file:
            words = line.split()
            if words[0] == f"cpu{core}":
                user, nice, system, _, _, irq, soft, steal = (int(word) for word in words[1:9])
                return user + nice + system + irq + soft, steal, sum(int(word) for word in words[1:9])
    return 0, 0, 0


class Interval:
    """What a family used of its processor between begin() and end(), and what others used of it."""

    def __init__(self, root, core):
        self.root, self.core = root, core
        self.seconds = self.cpu_seconds = self.foreign = self.stolen = 0.0

    def _read(self):
        return time.monotonic(), processor_nanoseconds(self.root), core_ticks(self.core)

    def begin(self):
        self.started = self._read()

    def end(self):
        then, cpu_then, (busy_then, stolen_then, all_then) = self.started
        now, cpu, (busy, stolen, everything) = self._read()
        ticks = max(1, everything - all_then)
        self.seconds = now - then
        self.cpu_seconds = (cpu - cpu_then) / 1e9
        self.stolen = (stolen - stolen_then) / ticks
        self.foreign = max(0.0, (busy - busy_then) / ticks - self.cpu_seconds / self.seconds)


def wait_for_quiet(cores, seconds):
    """Until none of these processors has others' work, at most so long. Nothing of ours runs at that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = [core_ticks(core) for core in cores]
        time.sleep(0.2)
        after = [core_ticks(core) for core in cores]
        shares = [(now[0] - then[0]) / max(1, now[2] - then[2]) for then, now in zip(before, after)]
        if max(shares) < 0.2:
            return
