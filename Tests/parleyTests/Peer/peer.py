"""Peers of the gateway that others wrote: python3 peer.py COMMAND ARGUMENT…; answers are lines on standard output."""
import sys
import threading
import time
from concurrent import futures


def say(*words):
    print(*words, flush=True)


def http_server():
    """An instance of HTTP/1.1: GET /bytes/N, POST echoes, and /trailers ends with a trailer."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def parts(self):
            if self.headers.get("transfer-encoding") == "chunked":
                while True:
                    size = int(self.rfile.readline(), 16)
                    if size == 0:
                        break
                    yield self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
            else:
                left = int(self.headers.get("content-length", 0))
                while left > 0:
                    part = self.rfile.read(min(left, 65536))
                    if not part:
                        return
                    left -= len(part)
                    yield part

        def begin(self, *fields):
            self.send_response(200)
            for name, value in fields:
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self):
            if self.path.startswith("/bytes/"):
                body = (bytes(range(256)) * (int(self.path[7:]) // 256 + 1))[: int(self.path[7:])]
                self.begin(("content-length", str(len(body))))
                self.wfile.write(body)
            elif self.path == "/trailers":
                self.begin(("transfer-encoding", "chunked"), ("trailer", "x-sum"))
                self.wfile.write(b"5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n")
            elif self.path == "/names":
                body = " ".join(sorted(name.lower() for name in self.headers if name.lower().startswith("x-")))
                self.begin(("content-length", str(len(body))))
                self.wfile.write(body.encode())
            else:
                self.begin(("content-length", "2"))
                self.wfile.write(b"ok")

        def do_POST(self):
            body = b"".join(self.parts())
            self.begin(("content-length", str(len(body))))
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        # Hundreds connect at once; the library's five would have the system drop them.
        request_queue_size = 1024

    server = Server(("127.0.0.1", 0), Handler)
    say(server.server_address[1])
    server.serve_forever()


limits = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


def grpc_server():
    """Says on a line of its own what has become of calls that do not end by themselves."""
    import grpc

    def count(request, context):
        for number in range(int(request)):
            yield b"%d" % number

    def total(requests, context):
        sizes = [len(request) for request in requests]
        return b"%d %d" % (len(sizes), sum(sizes))

    def chat(requests, context):
        for request in requests:
            yield request.upper()

    def hang(request, context):
        gone = threading.Event()
        context.add_callback(lambda: (say("left", request.decode()), gone.set()))
        gone.wait(30)
        return b""

    def endless(request, context):
        context.add_callback(lambda: say("left", request.decode()))
        while True:
            yield b"more"

    def fail(request, context):
        context.set_trailing_metadata((("x-reason", "because"), ("x-reason-bin", b"\0\xff")))
        context.abort(grpc.StatusCode[request.decode()], "as you wish: 100 % n\u00e4h")

    def metadata(request, context):
        fields = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-back-bin", fields["x-there-bin"]),))
        return b"%s %s" % (fields["x-there"].encode(), str(20 < context.time_remaining() < 26).encode())

    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Total": grpc.stream_unary_rpc_method_handler(total),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Endless": grpc.unary_stream_rpc_method_handler(endless),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    }
    server = grpc.server(futures.ThreadPoolExecutor(32), options=limits)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    say(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    while True:
        time.sleep(60)


def grpc_client(address, authorities=None):
    """All kinds of calls, a line for each."""
    import queue

    import grpc

    if authorities:
        with open(authorities, "rb") as file:
            channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()), options=limits)
    else:
        channel = grpc.insecure_channel(address, options=limits)

    def unary(method, service="test.Test"):
        return channel.unary_unary("/%s/%s" % (service, method))

    def failure(call):
        try:
            call()
            return "no failure"
        except grpc.RpcError as error:
            return error

    def code(call):
        error = failure(call)
        return error if isinstance(error, str) else error.code().name

    say("unary", unary("Echo")(b"hello", timeout=20).decode())
    large = bytes(range(256)) * 40_960
    say("large", unary("Echo")(large, timeout=60) == large, len(large))
    say("server stream", b" ".join(channel.unary_stream("/test.Test/Count")(b"5", timeout=20)).decode())
    many = list(channel.unary_stream("/test.Test/Count")(b"5000", timeout=60))
    say("long stream", len(many), many == [b"%d" % number for number in range(5000)])
    total = channel.stream_unary("/test.Test/Total")
    say("client stream", total(iter([b"x" * 1000] * 2000), timeout=60).decode())

    # Each message is sent when the answer to the one before has come: nothing on the way waits for more.
    outgoing = queue.Queue()
    answers = channel.stream_stream("/test.Test/Chat")(iter(outgoing.get, None), timeout=20)
    heard = []
    for word in [b"a", b"b", b"c"]:
        outgoing.put(word)
        heard.append(next(answers))
    outgoing.put(None)
    say("both", b" ".join(heard).decode(), list(answers))

    answer, call = unary("Metadata").with_call(
        b"", timeout=25, metadata=[("x-there", "and back"), ("x-there-bin", b"\0\1\xfe")]
    )
    say("metadata", answer.decode(), dict(call.initial_metadata())["x-back-bin"] == b"\0\1\xfe")

    error = failure(lambda: unary("Fail")(b"NOT_FOUND", timeout=20))
    trailing = dict(error.trailing_metadata())
    say("fail", error.code().name, error.details(), trailing["x-reason"], trailing["x-reason-bin"] == b"\0\xff")
    say("unimplemented", code(lambda: unary("Nothing")(b"", timeout=20)))

    say("deadline", code(lambda: unary("Hang")(b"deadline", timeout=0.5)))
    hanging = unary("Hang").future(b"cancel", timeout=20)
    first = channel.unary_stream("/test.Test/Endless")(b"endless", timeout=20)
    say("endless", next(first).decode(), next(first).decode())
    hanging.cancel()
    first.cancel()
    say("cancel", code(hanging.result) if not hanging.cancelled() else "CANCELLED", code(lambda: list(first)))

    with futures.ThreadPoolExecutor(16) as pool:
        texts = [b"%d" % number for number in range(400)]
        say("many", list(pool.map(lambda text: unary("Echo")(text, timeout=60), texts)) == texts)

    for service in ["down.Down", "forbidden.Forbidden", "limited.Limited", "secret.Secret", "nowhere.Nowhere"]:
        error = failure(lambda: unary("Call", service)(b"hello", timeout=20))
        say(service, error.code().name, error.details())


commands = {"http": http_server, "grpc-server": grpc_server, "grpc-client": grpc_client}
commands[sys.argv[1]](*sys.argv[2:])
