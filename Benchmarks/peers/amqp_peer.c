/* The C peer of `dev/bench amqp`, on librabbitmq: the same work as Sources/amqp-bench/Worker.swift.
 *
 *   amqp_peer PORT publish|consume COUNT WINDOW BYTES
 *
 * Prints "RATE CPU": messages a second, and microseconds of processor time (user and system) a message.
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static void must(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "amqp_peer: %s failed\n", what);
    exit(1);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double processor(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Reads one confirm; returns how many publishes it ends. */
static long confirmed(amqp_connection_state_t connection, uint64_t *last) {
    amqp_frame_t frame;
    amqp_maybe_release_buffers(connection);
    must(amqp_simple_wait_frame(connection, &frame) == AMQP_STATUS_OK, "a confirm");
    must(frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_ACK_METHOD, "an ack");
    amqp_basic_ack_t *ack = frame.payload.method.decoded;
    if (!ack->multiple) return 1; /* this broker confirms in order, so `last` below stays right */
    long ended = (long)(ack->delivery_tag - *last);
    return ended;
}

static void publish(amqp_connection_state_t connection, long count, long window, size_t size) {
    char *body = calloc(1, size + 1);
    amqp_bytes_t bytes = {size, body};
    uint64_t settled = 0;
    for (long sent = 0; sent < count;) {
        while (sent < count && sent - (long)settled < window) {
            must(amqp_basic_publish(connection, 1, amqp_empty_bytes, amqp_cstring_bytes("bench"), 0, 0, NULL, bytes) ==
                     AMQP_STATUS_OK, "publish");
            sent++;
        }
        settled += (uint64_t)confirmed(connection, &settled);
    }
    while ((long)settled < count) settled += (uint64_t)confirmed(connection, &settled);
    free(body);
}

static void consume(amqp_connection_state_t connection, long count, long window) {
    amqp_basic_qos(connection, 1, 0, (uint16_t)window, 0);
    must(amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL, "qos");
    amqp_basic_consume(connection, 1, amqp_cstring_bytes("bench"), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    must(amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL, "consume");
    for (long taken = 0; taken < count; taken++) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(connection);
        must(amqp_consume_message(connection, &envelope, NULL, 0).reply_type == AMQP_RESPONSE_NORMAL, "a message");
        must(amqp_basic_ack(connection, 1, envelope.delivery_tag, 0) == 0, "ack");
        amqp_destroy_envelope(&envelope);
    }
}

int main(int argc, char **argv) {
    must(argc == 6, "PORT MODE COUNT WINDOW BYTES");
    long count = atol(argv[3]), window = atol(argv[4]);
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    must(socket != NULL && amqp_socket_open(socket, "127.0.0.1", atoi(argv[1])) == 0, "connect");
    amqp_rpc_reply_t login =
        amqp_login(connection, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
    must(login.reply_type == AMQP_RESPONSE_NORMAL, "login");
    amqp_channel_open(connection, 1);
    must(amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL, "channel");
    amqp_queue_declare(connection, 1, amqp_cstring_bytes("bench"), 0, 1, 0, 0, amqp_empty_table);
    must(amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL, "declare");
    if (strcmp(argv[2], "publish") == 0) {
        amqp_queue_purge(connection, 1, amqp_cstring_bytes("bench"));
        amqp_confirm_select(connection, 1);
        must(amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL, "confirms");
    }
    double began = seconds(), used = processor();
    if (strcmp(argv[2], "publish") == 0)
        publish(connection, count, window, (size_t)atol(argv[5]));
    else
        consume(connection, count, window);
    used = processor() - used;
    printf("%f %f\n", (double)count / (seconds() - began), used * 1e6 / (double)count);
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
    return 0;
}
