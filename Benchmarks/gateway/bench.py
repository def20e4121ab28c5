"""dev/bench gateway: our gateway beside nginx and Envoy, in one run. dev/bench starts it; see --help."""

import argparse
import http.client
import json
import os
import platform
import resource
import shlex
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import loads
import peers
import processes
import report

FOREIGN_LIMIT, ATTEMPTS = 0.05, 3
COMPARED = ("h1", "h1-64k", "tls", "h2", "grpc")

EPILOG = """\
rows
  h1       HTTP/1.1, 100 B          tls   HTTP/1.1 over TLS 1.3     grpc    unary calls, h2c on both sides
  h1-64k   HTTP/1.1, 64 KB          h2    HTTP/2 over TLS 1.3       memory  at rest, and with idle connections

loads
  saturation   as fast as it goes; the processor time of a request counts most
  50, 80       so many per cent of each one's own saturation, for latencies
  common       the same rate for all: --rate, or half the saturation of the slowest

peers
  nginx, envoy, and nginx-64k: nginx with 64 KB proxy_buffers, in the row h1-64k alone

examples
  dev/bench gateway                                          everything, ten rounds: about an hour
  dev/bench gateway --rows h1 --rounds 3 --seconds 1         a first look, a minute or two
  dev/bench gateway --rows tls,h2 --loads saturation         the processor time of a request alone
  dev/bench gateway --rows memory --connections 2000
  dev/bench gateway --subject 'nginx -e {folder}/error.log -c {main}' --name other   the harness against itself
  dev/bench gateway --json >gateway.json

All proxies share one core, one at a time; the load generator and the upstreams have the others. A round measures each
proxy in each row, in an order that changes; ratios are taken within a round. Figures of two runs do not compare.
Linux only. It needs about 11,000 file descriptors for the row memory and raises its own limit as far as it may.
"""


def options():
    parser = argparse.ArgumentParser(prog="dev/bench gateway", epilog=EPILOG,
                                     description="Our gateway beside nginx and Envoy, in one run.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="interleaved rounds (10)")
    parser.add_argument("--rows", default=",".join(peers.ALL_ROWS), help="some of them, with commas between")
    parser.add_argument("--loads", default=",".join(report.LOADS), help="saturation,50,80,common, or some of them")
    parser.add_argument("--peers", default="nginx,nginx-64k,envoy", help="whom to compare with (nginx,nginx-64k,envoy)")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement, after half a second (2)")
    parser.add_argument("--rate", type=int, default=0, help="requests a second of the load `common`")
    parser.add_argument("--connections", type=int, default=10000, help="idle ones in the row memory (10000)")
    parser.add_argument("--subject", help="command of our gateway, with {config}: upstream and server blocks, or "
                        "{main}: a whole nginx.conf, and {folder}: a folder of its own")
    parser.add_argument("--name", default="parley", help="what the table calls it (parley)")
    parser.add_argument("--access-log", action="store_true", help="on in all; otherwise off in all")
    parser.add_argument("--core", type=int, help="the proxies' (the last that we may use)")
    parser.add_argument("--quiet", type=float, default=5, help="seconds to wait for idle cores before each (5)")
    parser.add_argument("--json", action="store_true", help="figures and single measurements instead of the table")
    chosen = parser.parse_args()
    chosen.rows, chosen.loads, chosen.peers = (
        [word for word in text.split(",") if word] for text in (chosen.rows, chosen.loads, chosen.peers))
    for what, words, known in (("row", chosen.rows, peers.ALL_ROWS), ("load", chosen.loads, report.LOADS),
                               ("peer", chosen.peers, tuple(peers.KNOWN))):
        for word in words:
            if word not in known:
                parser.error(f"there is no {what} {word}; there are {', '.join(known)}")
    if not chosen.subject:
        parser.error("--subject is missing")
    if chosen.name in peers.KNOWN:
        parser.error(f"--name {chosen.name} is the name of a peer")
    if chosen.rounds < 1 or chosen.seconds < 0.2 or chosen.connections < 1:
        parser.error("--rounds and --connections need at least 1, --seconds 0.2")
    if {"50", "80", "common"} & set(chosen.loads) and "saturation" not in chosen.loads:
        chosen.loads.insert(0, "saturation")  # the others are parts of it
    return chosen


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    def __init__(self, chosen):
        self.chosen = chosen
        self.folder = peers.ROOT / ".build/bench-gateway"
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise RuntimeError("this needs two processors: one for the proxies, one for the load")
        self.core = allowed[-1] if chosen.core is None else chosen.core
        if self.core not in allowed:
            raise RuntimeError(f"--core {self.core} is not one that we may use; those are {allowed}")
        self.load_cores = set(allowed) - {self.core}
        os.sched_setaffinity(0, self.load_cores)
        self.generator = loads.Generator(self.folder, self.load_cores, 0.5)
        self.contenders, self.left_out, self.running = [], {}, {}
        self.measurements, self.memory, self.saturation = [], {}, {}

    # Before the first round

    def prepare(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        source = Path(__file__).parent
        for program in ("load", "upstream", "grpc_upstream"):
            subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", self.folder / program,
                            source / f"{program}.c", "-lm", "-lssl", "-lcrypto"], check=True)
        subprocess.run([peers.ROOT / "dev/servers/certificates", self.folder / "certificates"], check=True)
        (self.folder / "call").write_bytes(loads.CALL_BODY)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if "memory" in self.chosen.rows and self.chosen.connections + 1000 > hard:
            self.chosen.connections = hard - 1000
            say(f"only {self.chosen.connections} idle connections: the limit of open files is {hard} (ulimit -Hn)")
        self.site = peers.Site(processes.free_port(), processes.free_port(),
                               str(self.folder / "certificates/server.pem"),
                               str(self.folder / "certificates/server.key"), self.chosen.access_log,
                               self.chosen.connections)
        for program, port in (("upstream", self.site.upstream), ("grpc_upstream", self.site.grpc_upstream)):
            upstream = processes.start([str(self.folder / program), str(port)], self.load_cores, self.folder, program)
            if not processes.wait_for(upstream, [port]):
                raise RuntimeError(f"the {program} does not start:\n{processes.tail(self.folder, program)}")
        for name in [self.chosen.name, *self.chosen.peers]:
            self.configure(name)
        if not any(peer.name == self.chosen.name for peer in self.contenders):
            raise RuntimeError(f"the subject cannot be measured: {self.left_out[self.chosen.name]}")

    def configure(self, name):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for stale in folder.glob("*.log"):
            stale.unlink()
        # Only what the rows need, so that a gateway that cannot do all of it yet can be measured in what it does.
        kinds = {loads.ROWS[row].port if row in loads.ROWS else "plain" for row in self.chosen.rows}
        peer = peers.Peer(name, {kind: processes.free_port() for kind in sorted(kinds)}, folder)
        try:
            if name in peers.KNOWN:
                peers.KNOWN[name](peer, self.site)
            else:
                peers.subject(peer, self.site, self.chosen.subject)
            self.contenders.append(peer)
            self.start(peer)
            if "memory" in self.chosen.rows and "memory" in peer.rows:
                self.measure_memory(peer)
        except (RuntimeError, OSError) as problem:
            self.leave_out(peer, str(problem))

    def leave_out(self, peer, reason):
        if peer.name != self.chosen.name:
            say(f"{peer.name} is left out: {reason}")
        self.left_out[peer.name] = reason
        self.contenders = [other for other in self.contenders if other is not peer]
        if peer.name in self.running:
            processes.stop(self.running.pop(peer.name))

    def start(self, peer):
        process = processes.start(peer.command, {self.core}, peer.folder, "output", cwd=peer.folder)
        self.running[peer.name] = process
        if not processes.wait_for(process, peer.ports.values()):
            state = f"it does not listen on all of {', '.join(map(str, peer.ports.values()))} after 20 seconds"
            if process.poll() is not None:
                state = f"{shlex.join(peer.command)} ended with status {process.returncode}"
            raise RuntimeError(f"{state}:\n"
                               + processes.tail(peer.folder, "output") + processes.tail(peer.folder, "error"))
        for row in [row for row in COMPARED if row in self.chosen.rows and row in peer.rows]:
            try:
                loads.check(row, peer, self.folder)
            except (RuntimeError, OSError, http.client.HTTPException, subprocess.TimeoutExpired) as problem:
                self.leave_out_of(row, peer, problem)

    def leave_out_of(self, row, peer, problem):
        say(f"{peer.name} is left out of the row {row}: {problem}")
        peer.rows = tuple(other for other in peer.rows if other != row)
        self.left_out[f"{peer.name} ({row})"] = str(problem) or type(problem).__name__

    def measure_memory(self, peer):
        """Of a process that has served nothing but the check."""
        say(f"memory: {peer.name}")
        process, entry = self.running[peer.name], {"connections": self.chosen.connections}
        time.sleep(1)
        entry["rest_rss_kb"], entry["rest_pss_kb"] = processes.memory_kilobytes(process.pid)

        def held():
            time.sleep(1)
            entry["held_rss_kb"], entry["held_pss_kb"] = processes.memory_kilobytes(process.pid)

        try:
            entry["closed"] = loads.hold_connections(peer, self.chosen.connections, self.folder, self.load_cores, held)
            self.memory[peer.name] = entry
        except RuntimeError as problem:
            self.leave_out_of("memory", peer, problem)

    # The rounds

    def run(self):
        rows = [row for row in COMPARED if row in self.chosen.rows]
        took = []
        for number in range(self.chosen.rounds if rows else 0):
            began = time.monotonic()
            for row in rows:
                for load in self.chosen.loads:
                    for peer in self.order(number, row):
                        self.measure(number, row, load, peer)
            took.append(time.monotonic() - began)
            left = statistics.mean(took) * (self.chosen.rounds - number - 1)
            say(f"round {number + 1} of {self.chosen.rounds}: {took[-1]:.0f} s, about {left / 60:.0f} min to go")

    def order(self, number, row):
        """Rotated each round, and backwards after each full turn: nobody always follows the same one."""
        taking_part = [peer for peer in self.contenders if row in peer.rows]
        if not taking_part:
            return []
        first = number % len(taking_part)
        rotated = taking_part[first:] + taking_part[:first]
        return rotated[::-1] if number // len(taking_part) % 2 else rotated

    def rate(self, row, load, peer):
        if load == "saturation":
            return 0
        if load == "common":
            if not self.chosen.rate and ("common", row) not in self.saturation:  # of the first round, then the same
                self.saturation["common", row] = 0.5 * min(
                    statistics.median(rates) for key, rates in self.saturation.items() if key[1] == row)
            return self.chosen.rate or self.saturation["common", row]
        return statistics.median(self.saturation[peer.name, row]) * int(load) / 100

    def measure(self, number, row, load, peer):
        rate = round(self.rate(row, load, peer))
        process = self.running[peer.name]
        for _ in range(ATTEMPTS):
            processes.wait_for_quiet([self.core, *self.load_cores], self.chosen.quiet)
            interval = processes.Interval(process.pid, self.core)
            result = self.generator.run(loads.ROWS[row], peer.ports[loads.ROWS[row].port], self.chosen.seconds, rate,
                                        number + 1, interval)
            if process.poll() is not None:
                raise RuntimeError(f"{peer.name} has ended in the row {row}:\n{processes.tail(peer.folder, 'output')}")
            if result["requests"] == 0:
                raise RuntimeError(f"{peer.name} answered no request in the row {row}:\n"
                                   + processes.tail(peer.folder, "output") + processes.tail(peer.folder, "error"))
            if interval.foreign <= FOREIGN_LIMIT:
                break
        entry = {"round": number + 1, "row": row, "load": load, "peer": peer.name, "target": rate, **result}
        entry["rate"] = round(result["requests"] / result["seconds"], 1)
        entry["cpu_us"] = round(interval.cpu_seconds * 1e6 / result["requests"], 3)
        entry["busy"] = round(interval.cpu_seconds / interval.seconds, 3)
        entry["foreign"], entry["stolen"] = round(interval.foreign, 3), round(interval.stolen, 3)
        entry["disturbed"] = interval.foreign > FOREIGN_LIMIT
        if load == "saturation":
            self.saturation.setdefault((peer.name, row), []).append(entry["rate"])
        self.measurements.append(entry)
        tail = f", p99 {entry['p99']:,.0f} µs" if entry.get("p99") is not None else ""
        say(f"  {number + 1} {row:7}{load:11}{peer.name:10} {entry['cpu_us']:7.1f} µs/request, "
            f"{entry['rate']:8,.0f}/s{tail}" + (f", {entry['errors']} errors" if entry["errors"] else "")
            + (f", others used {interval.foreign:.0%}" if entry["disturbed"] else ""))

    def result(self):
        chosen = self.chosen
        versions = {peer.name: peer.version for peer in self.contenders}
        versions |= {"h2load": peers.first_line(["h2load", "--version"]), "kernel": platform.release()}
        rounds = len({entry["round"] for entry in self.measurements})
        method = (f"{rounds} interleaved rounds, measurements of {chosen.seconds:g} s; medians (least–greatest), "
                  f"ratios within a round. The proxies have core {self.core}, load and upstreams "
                  f"{', '.join(map(str, sorted(self.load_cores)))}. Access log {'on' if chosen.access_log else 'off'}; "
                  f"{peers.ROUTES} routes, request limit, X-Request-ID, X-Real-IP, X-Forwarded-For. `core` is how much "
                  "of its core a proxy used: far below 100 % at saturation, the load generator was the slower one.")
        return {"command": shlex.join(["dev/bench", "gateway", *sys.argv[1:]]), "machine": machine(),
                "subject": chosen.name, "versions": versions, "left_out": self.left_out, "method": method,
                "rows": report.summarise(self.measurements, chosen.name), "memory": self.memory,
                "measurements": self.measurements}


def machine():
    model, kilobytes = platform.machine(), 0
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    with open("/proc/meminfo") as file:
        kilobytes = int(file.readline().split()[1])
    return f"{model}, {os.cpu_count()} processors, {kilobytes / 1024 / 1024:.0f} GB"


def main():
    chosen = options()
    if platform.system() != "Linux" or not Path("/proc/self/schedstat").exists():
        sys.exit("dev/bench gateway: it needs Linux with /proc/PID/schedstat")

    def interrupted(*_):
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    status = 0
    try:
        bench = Bench(chosen)
        bench.prepare()
        try:
            bench.run()
        except KeyboardInterrupt:
            if not bench.measurements:
                raise
            say("Stopped; this is what was measured until then.")
            status = 130
        except RuntimeError as problem:
            if not bench.measurements:
                raise
            say(f"dev/bench gateway: {problem}")
            status = 1
        result = bench.result()
        print(json.dumps(result, indent=1) if chosen.json else report.markdown(result, loads.ROWS))
    except KeyboardInterrupt:
        say("Stopped.")
        status = 130
    except (RuntimeError, OSError, subprocess.CalledProcessError) as problem:
        say(f"dev/bench gateway: {problem}")
        status = 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave somebody behind
        processes.stop_all()
    sys.exit(status)


main()
