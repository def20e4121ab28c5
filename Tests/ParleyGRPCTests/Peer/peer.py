"""A gRPC client and server of others, for tests: python3 peer.py COMMAND ARGUMENT…; answers are lines on standard output."""
import sys
import time

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def as_text(data):
    return data.decode()


def call(channel, method, text, timeout=10, metadata=()):
    unary = channel.unary_unary("/test.Test/" + method, str.encode, as_text)
    try:
        answer, call = unary.with_call(text, timeout=timeout, metadata=metadata)
        fields = dict(call.initial_metadata())
        print("ok", answer[:200], len(answer), fields.get("x-request-id"))
    except grpc.RpcError as error:
        print(error.code().name, error.details())


def client(address):
    channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", 64 << 20)])
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ["", "test.Test", "nobody"]:
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            print("health", service, health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
        except grpc.RpcError as error:
            print("health", service, error.code().name)
    database = ProtoReflectionDescriptorDatabase(channel)
    print("services", " ".join(sorted(database.get_services())))
    pool = DescriptorPool(database)
    print("file", pool.FindServiceByName("grpc.health.v1.Health").methods_by_name["Watch"].input_type.full_name)
    print("enum", pool.FindEnumTypeByName("grpc.health.v1.HealthCheckResponse.ServingStatus").values[3].name)
    try:
        pool.FindServiceByName("nobody.Nothing")
    except KeyError:
        print("unknown symbol")
    call(channel, "Echo", "hello", metadata=[("x-request-id", "id-1"), ("x-service", "python")])
    call(channel, "Echo", "x" * 3_000_000)
    call(channel, "Echo", "x" * 5_000_000)
    call(channel, "Wait", "", timeout=0.3)
    call(channel, "Fail", "404")
    call(channel, "Nothing", "")
    stream = channel.unary_stream("/test.Test/Count", str.encode, as_text)
    print("stream", " ".join(stream("3", timeout=10)))
    endless = stream("1000000000", timeout=10)
    print("first", next(endless))
    endless.cancel()
    both = channel.stream_stream("/test.Test/Chat", str.encode, as_text)
    print("chat", " ".join(both(iter(["a", "b", "c"]), timeout=10)))


def watch(address):
    """Prints each status of the server until there is no more."""
    channel = grpc.insecure_channel(address)
    stub = health_pb2_grpc.HealthStub(channel)
    try:
        for answer in stub.Watch(health_pb2.HealthCheckRequest(service="test.Test")):
            print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), flush=True)
    except grpc.RpcError as error:
        print(error.code().name, flush=True)


def server():
    """Serves the health service, and one method that tells what it was sent."""
    from concurrent import futures

    def tell(request, context):
        fields = dict(context.invocation_metadata())
        return "%s %s %s %.0f" % (request, fields.get("x-service"), fields.get("x-request-id"), context.time_remaining())

    def refuse(request, context):
        context.abort(grpc.StatusCode[request], "as you wish")

    handler = grpc.method_handlers_generic_handler("test.Test", {
        "Echo": grpc.unary_unary_rpc_method_handler(tell, as_text, str.encode),
        "Fail": grpc.unary_unary_rpc_method_handler(refuse, as_text, str.encode),
    })
    one = grpc.server(futures.ThreadPoolExecutor(4))
    one.add_generic_rpc_handlers((handler,))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), one)
    print(one.add_insecure_port("127.0.0.1:0"), flush=True)
    one.start()
    while True:
        time.sleep(60)


{"client": client, "watch": watch, "server": server}[sys.argv[1]](*sys.argv[2:])
