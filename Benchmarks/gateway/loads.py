"""The load of each row: our own generator for HTTP/1.1 with and without TLS, h2load for HTTP/2 and gRPC; and whether a
proxy does at all what the row measures."""

import http.client
import json
import math
import re
import ssl
import subprocess
from dataclasses import dataclass

import processes

CALL_PATH = "/bench.Measured/Call"
CALL_BODY = bytes((0, 0, 0, 0, 100)) + bytes(100)
CALL_FIELDS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
# The fields that our own generator sends.
REQUEST_FIELDS = ["-H", "accept: application/json", "-H", "accept-language: en",
                  "-H", "cookie: visit=6f1c2d3e4b5a69788796a5b4c3d2e1f0"]


@dataclass
class Row:
    title: str
    port: str  # plain, tls, grpc
    path: str
    connections: int
    streams: int = 0  # at a time on a connection; 0: our own generator
    options: tuple = ()


ROWS = {
    "h1": Row("HTTP/1.1, 100 B", "plain", "/api/small", 64),
    "h1-64k": Row("HTTP/1.1, 64 KB", "plain", "/api/64k", 64),
    "tls": Row("HTTP/1.1 over TLS 1.3, 100 B", "tls", "/api/small", 64),
    "h2": Row("HTTP/2 over TLS 1.3, 100 B, HTTP/1.1 to the upstream", "tls", "/api/small", 16, 8,
              tuple(REQUEST_FIELDS)),
    "grpc": Row("gRPC unary, 100 B each way, HTTP/2 in clear text on both sides", "grpc", CALL_PATH, 16, 8,
                tuple(CALL_FIELDS)),
}


class Generator:
    """Runs one load, and reads the proxy's counters at the beginning and the end of its measured part."""

    def __init__(self, folder, cores, warm_up):
        self.folder, self.cores, self.warm_up = folder, cores, warm_up

    def run(self, row, port, seconds, rate, seed, interval):
        """rate 0: closed loop. What came back, with latencies in microseconds."""
        own = row.streams == 0
        command = self._own(row, port, seconds, rate, seed) if own else self._h2load(row, port, seconds, rate)
        process = processes.start(command, self.cores, self.folder, "load", stdout=subprocess.PIPE, text=True)
        lines, over = [], False
        # A generator that hangs must not hang the run: its end closes the pipe, and the loop below sees that.
        limit = processes.Deadline(process, seconds + self.warm_up + 30)
        try:
            for line in process.stdout:
                lines.append(line)
                if line.startswith(("begin", "Main benchmark duration is started")):
                    interval.begin()
                elif line.startswith(("end", "Main benchmark duration is over")):
                    interval.end()
                    over = True
            if process.wait(10) != 0 or not over:
                raise RuntimeError(f"{' '.join(command[:3])}… failed:\n{processes.tail(self.folder, 'load')}"
                                   + "".join(lines[-3:]))
        finally:
            limit.cancel()
            processes.stop(process)
        return json.loads(lines[-1]) if own else self._h2load_result("".join(lines), seconds, rate)

    def _own(self, row, port, seconds, rate, seed):
        address = f"tls:{port}" if row.port == "tls" else str(port)
        common = [address, row.path, str(row.connections), str(self.warm_up), str(seconds)]
        program = str(self.folder / "load")
        return [program, "open", *common, str(rate), str(seed)] if rate else [program, "closed", *common]

    def _h2load(self, row, port, seconds, rate):
        scheme = "https" if row.port == "tls" else "http"
        command = ["h2load", "-t1", f"-c{row.connections}", f"-m{row.streams}", "-D", f"{round(seconds * 1000)}ms",
                   "--warm-up-time", f"{round(self.warm_up * 1000)}ms", *row.options]
        if row.port == "grpc":
            command += ["-d", str(self.folder / "call")]
        if rate:
            log = self.folder / "latencies"
            log.unlink(missing_ok=True)
            command += ["--rps", f"{rate / row.connections:.3f}", f"--log-file={log}"]
        return command + [f"{scheme}://127.0.0.1:{port}{row.path}"]

    def _h2load_result(self, output, seconds, rate):
        counts = re.search(r" (\d+) done, \d+ succeeded, \d+ failed, (\d+) errored, (\d+) timeout", output)
        codes = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
        if not counts or not codes:
            raise RuntimeError("h2load printed no result:\n" + output)
        # Its `failed` is no use: a call whose head came in the warm-up and whose end came after it is one of them.
        done, errors = int(counts[1]), int(counts[2]) + int(counts[3])
        result = {"requests": done - errors, "seconds": seconds, "errors": errors,
                  "refused": sum(int(code) for code in codes.groups())}
        if rate:
            with open(self.folder / "latencies") as log:
                latencies = sorted(int(line.split()[2]) for line in log)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
                result[name] = latencies[max(0, math.ceil(share * len(latencies)) - 1)] if latencies else None
        return result


def check(row_name, peer, folder):
    """Raises RuntimeError when the proxy does not do what all have to do in this row."""
    row = ROWS[row_name]
    port = peer.ports[row.port]
    if row_name == "grpc":
        output = subprocess.run(
            ["nghttp", "-v", "-t10", "-d", str(folder / "call"), *CALL_FIELDS, f"http://127.0.0.1:{port}{CALL_PATH}"],
            capture_output=True, text=True, errors="replace", timeout=20).stdout
        for wanted in (":status: 200", "grpc-status: 0"):
            if wanted not in output:
                raise RuntimeError(f"a gRPC call had no {wanted}")
        return
    if row_name == "h2":
        head = subprocess.run(["nghttp", "-t10", f"https://127.0.0.1:{port}/api/echo"], capture_output=True, text=True,
                              timeout=20).stdout
    else:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        client = (http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context) if row.port == "tls"
                  else http.client.HTTPConnection("127.0.0.1", port, timeout=10))
        try:
            client.request("GET", "/api/echo")
            answer = client.getresponse()
            head = answer.read().decode("latin-1")
            if row.port == "tls" and client.sock.version() != "TLSv1.3":
                raise RuntimeError(f"it speaks {client.sock.version()}, not TLSv1.3")
            client.request("GET", row.path)
            length = len(client.getresponse().read())
        finally:
            client.close()
        if answer.status != 200 or length not in (100, 65536):
            raise RuntimeError(f"it answered with status {answer.status} and {length} bytes")
    fields = (line.partition(":") for line in head.splitlines())
    seen = {name.strip().lower(): value.strip() for name, _, value in fields}
    # Envoy puts an address of its own into X-Forwarded-For when the client's is loopback, so any value will do.
    if not seen.get("x-request-id") or seen.get("x-real-ip") != "127.0.0.1" or not seen.get("x-forwarded-for"):
        raise RuntimeError("X-Request-ID, X-Real-IP or X-Forwarded-For does not arrive at the upstream as it should; "
                           f"this did:\n{head.strip()}")


def hold_connections(peer, count, folder, cores, measure):
    """Opens the connections, one request on each, and calls measure() while all are idle. How many the proxy closed."""
    command = [str(folder / "load"), "hold", str(peer.ports["plain"]), "/api/small", str(count)]
    process = processes.start(command, cores, folder, "load", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    limit = processes.Deadline(process, 120)
    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{count} idle connections could not be held: {processes.tail(folder, 'load', 1)}")
        measure()
        process.stdin.close()
        return json.loads(process.stdout.readline() or "{}").get("closed")
    finally:
        limit.cancel()
        processes.stop(process)
