/* The gRPC upstream of `dev/bench gateway`: HTTP/2 in clear text, one thread, the same answer to each unary call.
 *
 *   grpc_upstream PORT
 *
 * It never needs to know what a request's fields say, so it does not decode them, and what it answers is encoded
 * beforehand: a server over a library would cost as much as the fast ones of the proxies and so hide their differences.
 */
#include "net.h"

enum {
    frame_data = 0,
    frame_headers = 1,
    frame_reset = 3,
    frame_settings = 4,
    frame_ping = 6,
    frame_window = 8,
    frame_continuation = 9,
    end_stream = 1,
    acknowledge = 1,
    end_headers = 4,

    frame_head = 9,
    frame_limit = 16384,
    preface = 24,
    input_size = 4 * (frame_limit + frame_head),
    output_size = 65536,
    waiting_limit = 1024, /* four times the streams that we allow */
    message = 5 + 100,
    window_step = 32768,
};

static const char answer_fields[] = "\x88"                            /* :status 200 */
                                    "\x0f\x10\x10" "application/grpc"; /* content-type, not to be indexed */
static const char trailer_fields[] = "\x00\x0b" "grpc-status" "\x01" "0";

struct connection {
    int socket;
    bool blocked, greeted, ends; /* ends: the head that is being read ends its stream */
    int64_t window;              /* what the peer still takes, over all streams */
    uint32_t received;           /* bytes of bodies since the last WINDOW_UPDATE */
    size_t used, pending, sent;
    uint32_t waiting[waiting_limit]; /* streams without an answer yet */
    size_t first, many;
    uint8_t input[input_size], output[output_size];
};

static int poll_set;

static uint32_t number(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void put_number(uint8_t *bytes, uint32_t value) {
    for (int index = 0; index < 4; index++) bytes[index] = (uint8_t)(value >> (24 - 8 * index));
}

static void put_frame(struct connection *peer, uint8_t kind, uint8_t flags, uint32_t stream, const void *payload,
                      size_t length) {
    uint8_t *frame = peer->output + peer->pending;
    put_number(frame, (uint32_t)length << 8);
    frame[3] = kind;
    frame[4] = flags;
    put_number(frame + 5, stream);
    memcpy(frame + frame_head, payload, length);
    peer->pending += frame_head + length;
}

static bool has_room(const struct connection *peer) { return peer->pending + 512 <= output_size; }

static void answer(struct connection *peer) {
    static const uint8_t body[message] = {[4] = message - 5};
    while (peer->many > 0 && peer->window >= message && has_room(peer)) {
        uint32_t stream = peer->waiting[peer->first];
        peer->first = (peer->first + 1) % waiting_limit;
        peer->many--;
        if (stream == 0) continue; /* reset in the meantime */
        put_frame(peer, frame_headers, end_headers, stream, answer_fields, sizeof answer_fields - 1);
        put_frame(peer, frame_data, 0, stream, body, message);
        put_frame(peer, frame_headers, end_headers | end_stream, stream, trailer_fields, sizeof trailer_fields - 1);
        peer->window -= message;
    }
}

static bool await_answer(struct connection *peer, uint32_t stream) {
    if (peer->many == waiting_limit) return false;
    peer->waiting[(peer->first + peer->many++) % waiting_limit] = stream;
    return true;
}

static void forget(struct connection *peer, uint32_t stream) {
    for (size_t index = 0; index < peer->many; index++) {
        uint32_t *waiting = &peer->waiting[(peer->first + index) % waiting_limit];
        if (*waiting == stream) *waiting = 0;
    }
}

static bool settings(struct connection *peer, const uint8_t *payload, size_t length) {
    for (size_t at = 0; at + 6 <= length; at += 6) {
        bool initial_window = payload[at] == 0 && payload[at + 1] == 4;
        if (initial_window && number(payload + at + 2) < message) return false; /* not worth the bookkeeping */
    }
    put_frame(peer, frame_settings, acknowledge, 0, "", 0);
    return true;
}

/* False: the connection is over. */
static bool frame(struct connection *peer, uint8_t kind, uint8_t flags, uint32_t stream, const uint8_t *payload,
                  size_t length) {
    uint8_t increment[4];
    switch (kind) {
    case frame_headers:
        peer->ends = flags & end_stream;
        return !(flags & end_headers) || !peer->ends || await_answer(peer, stream);
    case frame_continuation:
        return !(flags & end_headers) || !peer->ends || await_answer(peer, stream);
    case frame_data:
        peer->received += (uint32_t)length;
        if (peer->received >= window_step) {
            put_number(increment, peer->received);
            put_frame(peer, frame_window, 0, 0, increment, sizeof increment);
            peer->received = 0;
        }
        return !(flags & end_stream) || await_answer(peer, stream);
    case frame_reset: forget(peer, stream); return true;
    case frame_settings: return (flags & acknowledge) || settings(peer, payload, length);
    case frame_ping:
        if (length == 8 && !(flags & acknowledge)) put_frame(peer, frame_ping, acknowledge, 0, payload, 8);
        return length == 8;
    case frame_window:
        if (length != 4) return false;
        if (stream == 0) peer->window += number(payload) & 0x7fffffff;
        return true;
    default: return true;
    }
}

static bool serve(struct connection *peer) {
    size_t at = 0;
    if (!peer->greeted && peer->used >= preface) {
        if (memcmp(peer->input, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", preface) != 0) return false;
        static const uint8_t streams[] = {0, 3, 0, 0, 1, 0}; /* at most 256 at a time */
        put_frame(peer, frame_settings, 0, 0, streams, sizeof streams);
        peer->greeted = true;
        at = preface;
    }
    while (peer->greeted && has_room(peer) && peer->used - at >= frame_head) {
        const uint8_t *head = peer->input + at;
        size_t length = number(head) >> 8;
        if (length > frame_limit) return false;
        if (peer->used - at < frame_head + length) break;
        if (!frame(peer, head[3], head[4], number(head + 5) & 0x7fffffff, head + frame_head, length)) return false;
        at += frame_head + length;
    }
    peer->used -= at;
    memmove(peer->input, peer->input + at, peer->used);
    answer(peer);
    return true;
}

/* One write for all that one read has brought. False: the connection is over. */
static bool flush_output(struct connection *peer) {
    while (peer->sent < peer->pending) {
        ssize_t sent = send(peer->socket, peer->output + peer->sent, peer->pending - peer->sent, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) return false;
            if (!peer->blocked) watch(poll_set, EPOLL_CTL_MOD, peer->socket, EPOLLOUT, peer);
            peer->blocked = true;
            return true;
        }
        peer->sent += (size_t)sent;
    }
    if (peer->blocked) watch(poll_set, EPOLL_CTL_MOD, peer->socket, EPOLLIN, peer);
    peer->blocked = false;
    peer->sent = peer->pending = 0;
    return true;
}

static bool ready(struct connection *peer) {
    if (!peer->blocked) {
        ssize_t got = recv(peer->socket, peer->input + peer->used, input_size - peer->used, 0);
        if (got <= 0) return got < 0 && errno == EAGAIN;
        peer->used += (size_t)got;
    } else if (!flush_output(peer)) {
        return false;
    }
    while (!peer->blocked) {
        size_t before = peer->used;
        if (!serve(peer)) return false;
        bool idle = peer->pending == 0 && peer->used == before;
        if (!flush_output(peer)) return false;
        if (idle) return true;
    }
    return true;
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: grpc_upstream PORT\n");
        return 64;
    }
    struct epoll_event events[256];
    int listener = listening(atoi(arguments[1]));
    poll_set = epoll_create1(0);
    watch(poll_set, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int many = epoll_wait(poll_set, events, 256, -1);
        for (int index = 0; index < many; index++) {
            struct connection *peer = events[index].data.ptr;
            if (peer) {
                if (ready(peer)) continue;
                close(peer->socket);
                free(peer);
                continue;
            }
            int socket;
            while ((socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                send_at_once(socket);
                peer = allocate(sizeof *peer);
                peer->socket = socket;
                peer->window = 65535;
                watch(poll_set, EPOLL_CTL_ADD, socket, EPOLLIN, peer);
            }
        }
    }
}
