"""The Python peer of `dev/bench amqp`, on pika: the same work as Sources/amqp-bench/Worker.swift.

    amqp_peer.py PORT publish|consume COUNT WINDOW BYTES

Prints "RATE CPU": messages a second, and microseconds of processor time (user and system) a message. It uses pika's
SelectConnection, its asynchronous and faster one; only that can have more than one publish on its way.
"""

import resource
import sys
import time

import pika

port, mode, count, window, size = int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
body = b"\0" * size
state = {"sent": 0, "done": 0}


def processor():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def begin():
    state["began"], state["used"] = time.monotonic(), processor()


def finish(channel):
    took, used = time.monotonic() - state["began"], processor() - state["used"]
    print(count / took, used * 1e6 / count)
    channel.connection.close()


def fill(channel):
    while state["sent"] < count and state["sent"] - state["done"] < window:
        channel.basic_publish("", "bench", body)
        state["sent"] += 1


def start_publishing(channel):
    def confirmed(frame):
        tag = frame.method.delivery_tag
        state["done"] = tag if frame.method.multiple else state["done"] + 1
        if state["done"] >= count:
            finish(channel)
        else:
            fill(channel)

    def purged(_):
        begin()
        fill(channel)

    channel.confirm_delivery(confirmed, callback=lambda _: channel.queue_purge("bench", callback=purged))


def start_consuming(channel):
    def delivered(channel, method, _properties, _body):
        if state["done"] == count:
            return
        channel.basic_ack(method.delivery_tag)
        state["done"] += 1
        if state["done"] == count:
            finish(channel)

    def ready(_):
        begin()
        channel.basic_consume("bench", delivered)

    channel.basic_qos(prefetch_count=window, callback=ready)


def opened(channel):
    start = start_publishing if mode == "publish" else start_consuming
    channel.queue_declare("bench", durable=True, callback=lambda _: start(channel))


connection = pika.SelectConnection(
    pika.ConnectionParameters("127.0.0.1", port, heartbeat=0),
    on_open_callback=lambda connection: connection.channel(on_open_callback=opened),
    on_close_callback=lambda connection, _: connection.ioloop.stop(),
)
connection.ioloop.start()
