"""The Python peer of `dev/bench redis`, on redis-py with hiredis: the same work as Sources/redis-bench/Worker.swift.

    redis_peer.py PORT xadd|read|readack COUNT PIPELINE CONNECTIONS BYTES

Prints "RATE CPU": messages a second, and microseconds of processor time (user and system) a message.
"""

import resource
import sys
import time

import redis

port, mode = int(sys.argv[1]), sys.argv[2]
count, pipeline, _, size = map(int, sys.argv[3:7])
server = redis.Redis(port=port)
server.ping()
body = b"x" * size


def processor():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


began, used = time.monotonic(), processor()
done = 0
while done < count:
    if mode == "xadd":
        batch = server.pipeline(transaction=False)
        for _ in range(pipeline):
            batch.xadd("bench", {"data": body})
        done += len(batch.execute())
    else:
        found = server.xreadgroup("g", "c", {"bench": ">"}, count=pipeline, noack=mode == "read")
        entries = found[0][1] if isinstance(found, list) else found[b"bench"][0]
        if mode == "readack":
            server.xack("bench", "g", *[entry[0] for entry in entries])
        done += len(entries)
took, used = time.monotonic() - began, processor() - used
print(done / took, used * 1e6 / done)
