/* The HTTP/1.1 load generator of `dev/bench gateway`: one thread, keep-alive, one request at a time on a connection.
 *
 *   load closed PORT PATH CONNECTIONS WARM-UP SECONDS
 *   load open   PORT PATH CONNECTIONS WARM-UP SECONDS RATE SEED
 *   load hold   PORT PATH CONNECTIONS
 *
 * PORT of tls:PORT speaks TLS 1.3; the server's certificate is not checked.
 *
 * closed  each connection asks again as soon as it has its answer
 * open    requests are due at random instants (exponential gaps, RATE a second), whether answers come or not. A latency
 *         is counted from the instant that the request was due, so that a stall is charged to all whom it delays.
 * hold    one request on each connection, then "ready"; they stay open until standard input ends
 *
 * Prints "begin" after the warm-up and "end" at the end, so that whoever runs it can read the proxy's counters at these
 * instants, then one line of JSON; latencies are in microseconds.
 */
#include "net.h"

#include <fcntl.h>
#include <math.h>
#include <openssl/ssl.h>
#include <strings.h>
#include <sys/prctl.h>

enum { head_limit = 8192, due_limit = 1 << 20, sub_bits = 6, sub_buckets = 1 << sub_bits };

struct connection {
    int socket;
    SSL *secured; /* NULL in clear text */
    bool in_body;
    uint64_t due;
    size_t left, used; /* of the body still to come; of the head already here */
    char head[head_limit + 1];
};

static int poll_set, port;
static SSL_CTX *tls;
static char request[1024];
static size_t request_length;
static uint64_t errors, refused; /* broken connections; answers other than 2xx */

/* A log-linear histogram: buckets are never wider than 1/64 of what they hold. */
static uint64_t buckets[64 * sub_buckets], recorded;

static void record(uint64_t value) {
    if (value < sub_buckets) value = sub_buckets;
    unsigned octave = 63 - (unsigned)__builtin_clzll(value);
    buckets[octave * sub_buckets + ((value >> (octave - sub_bits)) & (sub_buckets - 1))]++;
    recorded++;
}

static double percentile(double share) {
    uint64_t wanted = (uint64_t)ceil((double)recorded * share), seen = 0;
    for (unsigned index = 0; index < 64 * sub_buckets; index++) {
        seen += buckets[index];
        if (seen == 0 || seen < wanted) continue;
        unsigned octave = index / sub_buckets, sub = index % sub_buckets;
        return ((double)(1ull << octave) + ((double)sub + 0.5) * (double)(1ull << (octave - sub_bits))) / 1000;
    }
    return 0;
}

static void dial(struct connection *connection) {
    struct sockaddr_in address = loopback(port);
    connection->socket = socket(AF_INET, SOCK_STREAM, 0);
    connection->used = 0;
    connection->in_body = false;
    if (connection->socket < 0) fail("socket");
    if (connect(connection->socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
    send_at_once(connection->socket);
    if (tls) {
        connection->secured = SSL_new(tls);
        if (!connection->secured || !SSL_set_fd(connection->secured, connection->socket)) fail("TLS");
        if (SSL_connect(connection->secured) != 1) {
            fprintf(stderr, "load: the TLS handshake failed\n");
            exit(1);
        }
        /* From here on a record that is not data, or not whole, must not stop all others. */
        fcntl(connection->socket, F_SETFL, O_NONBLOCK);
    }
    watch(poll_set, EPOLL_CTL_ADD, connection->socket, EPOLLIN, connection);
}

static void ask(struct connection *connection, uint64_t due) {
    connection->due = due;
    connection->used = 0;
    connection->in_body = false;
    /* A failure shows when the answer is read. */
    if (connection->secured) (void)!SSL_write(connection->secured, request, (int)request_length);
    else (void)!send(connection->socket, request, request_length, MSG_NOSIGNAL);
}

/* More than 0: so many bytes. 0: none at the moment. Less: the connection is over. */
static ssize_t take(struct connection *connection, char *bytes, size_t limit) {
    static char unused[1 << 16];
    if (!connection->secured) {
        /* Bodies are thrown away in the kernel: copying them would make the load generator the slower side. */
        ssize_t got = recv(connection->socket, bytes, bytes ? limit : 1 << 20, bytes ? 0 : MSG_TRUNC);
        return got > 0 ? got : -1;
    }
    int got = SSL_read(connection->secured, bytes ? bytes : unused, bytes ? (int)limit : (int)sizeof unused);
    if (got > 0) return got;
    return SSL_get_error(connection->secured, got) == SSL_ERROR_WANT_READ ? 0 : -1;
}

enum progress { unfinished, answered, broken };

static enum progress read_once(struct connection *connection) {
    if (connection->in_body) {
        ssize_t got = take(connection, NULL, 0);
        if (got < 0 || (size_t)got > connection->left) return broken;
        connection->left -= (size_t)got;
        return connection->left == 0 ? answered : unfinished;
    }
    ssize_t got = take(connection, connection->head + connection->used, head_limit - connection->used);
    if (got < 0) return broken;
    connection->used += (size_t)got;
    connection->head[connection->used] = 0;
    char *end = strstr(connection->head, "\r\n\r\n");
    if (!end) return connection->used < head_limit ? unfinished : broken;
    size_t body_here = connection->used - (size_t)(end - connection->head) - 4;
    *end = 0;
    char *length = strcasestr(connection->head, "\r\ncontent-length:");
    if (!length) {
        fprintf(stderr, "load: an answer without Content-Length:\n%s\n", connection->head);
        exit(1);
    }
    size_t all = strtoul(length + 17, NULL, 10);
    if (body_here > all) return broken;
    if (connection->used < 12 || connection->head[9] != '2') refused++;
    connection->left = all - body_here;
    connection->in_body = true;
    return connection->left == 0 ? answered : unfinished;
}

/* Reads from a connection that has something; what a TLS record still holds, epoll would not report again. */
static enum progress advance(struct connection *connection) {
    enum progress progress = read_once(connection);
    while (progress == unfinished && connection->secured && SSL_pending(connection->secured) > 0) {
        progress = read_once(connection);
    }
    return progress;
}

static void redial(struct connection *connection) {
    errors++;
    SSL_free(connection->secured);
    connection->secured = NULL;
    close(connection->socket);
    dial(connection);
}

static double gap(uint64_t *state, double mean) {
    *state ^= *state << 13; /* xorshift64: the same instants for all who get the same seed */
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return -log(((double)(*state >> 11) + 1) / 9007199254740993.0) * mean;
}

static void mark(const char *word) {
    puts(word);
    fflush(stdout);
}

static void run(struct connection *connections, int many, double warm_up, double seconds, double rate, uint64_t seed) {
    bool open_loop = rate > 0, measuring = false;
    int idle_count = 0, *idle = allocate((size_t)many * sizeof *idle);
    uint64_t *due = allocate(due_limit * sizeof *due), due_first = 0, due_end = 0, overrun = 0, requests = 0;
    uint64_t start = nanoseconds(), begin = start + (uint64_t)(warm_up * 1e9);
    uint64_t end = begin + (uint64_t)(seconds * 1e9), state = seed * 2654435769u + 88172645463325252u, now;
    double next = (double)start;
    struct epoll_event events[512];
    for (int index = 0; index < many; index++) {
        if (open_loop) idle[idle_count++] = index;
        else ask(&connections[index], nanoseconds());
    }
    while ((now = nanoseconds()) < end) {
        if (!measuring && now >= begin) {
            measuring = true;
            mark("begin");
        }
        while (open_loop && next <= (double)now) {
            if (due_end - due_first < due_limit) due[due_end++ % due_limit] = (uint64_t)next;
            else overrun++;
            next += gap(&state, 1e9 / rate);
        }
        while (due_first < due_end && idle_count > 0) {
            ask(&connections[idle[--idle_count]], due[due_first++ % due_limit]);
        }

        uint64_t until = measuring ? end : begin;
        now = nanoseconds();
        if (open_loop && next < (double)until) until = (uint64_t)next;
        uint64_t wait = until > now ? until - now : 0;
        struct timespec pause = {.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
        int ready = epoll_pwait2(poll_set, events, 512, &pause, NULL);
        for (int index = 0; index < ready; index++) {
            struct connection *connection = events[index].data.ptr;
            enum progress progress = advance(connection);
            if (progress == unfinished) continue;
            if (progress == broken) redial(connection);
            uint64_t finished = nanoseconds();
            if (progress == answered && measuring && finished < end) {
                requests++;
                record(finished - connection->due);
            }
            if (open_loop) idle[idle_count++] = (int)(connection - connections);
            else ask(connection, finished);
        }
    }
    mark("end");
    /* Those who were due and had to wait to the end belong to the tail: leaving them out would flatter it. */
    for (now = nanoseconds(); due_first < due_end; due_first++) {
        if (due[due_first % due_limit] >= begin) record(now - due[due_first % due_limit]);
    }
    printf("{\"requests\": %lu, \"seconds\": %.6f, \"errors\": %lu, \"refused\": %lu, \"overrun\": %lu, \"p50\": %.1f, "
           "\"p99\": %.1f, \"p999\": %.1f}\n",
           requests, (double)(end - begin) / 1e9, errors, refused, overrun, percentile(0.5), percentile(0.99),
           percentile(0.999));
}

static void hold(struct connection *connections, int many) {
    char ignored[64];
    struct epoll_event event;
    for (int index = 0; index < many; index++) {
        ask(&connections[index], 0);
        enum progress progress = unfinished;
        while (progress == unfinished) {
            if (epoll_wait(poll_set, &event, 1, 10000) != 1 || event.data.ptr != &connections[index]) {
                fprintf(stderr, "load: connection %d of %d got no answer, or another was closed\n", index + 1, many);
                exit(1);
            }
            progress = advance(&connections[index]);
        }
        if (progress == broken || refused) {
            fprintf(stderr, "load: connection %d of %d was closed or refused\n", index + 1, many);
            exit(1);
        }
    }
    mark("ready");
    while (read(STDIN_FILENO, ignored, sizeof ignored) > 0) {}
    /* Connections that the proxy has closed meanwhile would make it look small. */
    int closed = 0, ready;
    struct epoll_event events[512];
    while ((ready = epoll_wait(poll_set, events, 512, 0)) > 0) {
        for (int index = 0; index < ready; index++) {
            struct connection *connection = events[index].data.ptr;
            close(connection->socket);
            closed++;
        }
    }
    printf("{\"closed\": %d}\n", closed);
}

int main(int count, char **arguments) {
    const char *mode = count > 1 ? arguments[1] : "";
    bool open_loop = !strcmp(mode, "open") && count == 9, closed_loop = !strcmp(mode, "closed") && count == 7;
    bool holding = !strcmp(mode, "hold") && count == 5;
    if (!open_loop && !closed_loop && !holding) {
        fprintf(stderr, "usage: load closed|open|hold PORT PATH CONNECTIONS [WARM-UP SECONDS [RATE SEED]]\n");
        return 64;
    }
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    if (!strncmp(arguments[2], "tls:", 4)) {
        arguments[2] += 4;
        tls = SSL_CTX_new(TLS_client_method());
        if (!tls || !SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION)) fail("TLS");
    }
    port = atoi(arguments[2]);
    int many = atoi(arguments[4]);
    if (many < 1) many = 1;
    struct connection *connections = allocate((size_t)many * sizeof *connections);
    poll_set = epoll_create1(0);
    prctl(PR_SET_TIMERSLACK, 1); /* the default of 50 us would be a part of every latency */
    request_length = (size_t)snprintf(request, sizeof request,
                                      "GET %.200s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: parley-bench\r\n"
                                      "Accept: application/json\r\nAccept-Language: en\r\n"
                                      "Cookie: visit=6f1c2d3e4b5a69788796a5b4c3d2e1f0\r\n\r\n",
                                      arguments[3]);
    for (int index = 0; index < many; index++) dial(&connections[index]);
    if (holding) hold(connections, many);
    else run(connections, many, atof(arguments[5]), atof(arguments[6]), open_loop ? atof(arguments[7]) : 0,
             open_loop ? (uint64_t)atoll(arguments[8]) : 0);
    return 0;
}
