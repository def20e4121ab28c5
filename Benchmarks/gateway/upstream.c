/* The HTTP/1.1 upstream of `dev/bench gateway`: one thread, keep-alive, answers made beforehand.
 *
 *   upstream PORT
 *
 * A path with "/64k" in it is answered with 64 KB, one with "/echo" with the head that came, any other with 100 bytes.
 * A request's body is skipped by its Content-Length; chunked ones do not occur here.
 */
#include "net.h"

#include <strings.h>

enum { head_limit = 16384 };

struct connection {
    int socket;
    bool blocked;           /* the socket took no more: the rest follows when it does */
    const char *answer;     /* points into a prepared answer, or at `echo` */
    size_t left;            /* bytes of the answer still to send */
    size_t body;            /* bytes of the request's body still to come */
    size_t used;            /* bytes in `input` */
    char input[head_limit + 1];
    char echo[head_limit + 256];
};

struct prepared {
    char *bytes;
    size_t length;
};

static int poll_set;
static struct prepared small, large;

static const char head_format[] = "HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                                  "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n";

static struct prepared prepare(size_t body) {
    struct prepared answer = {.bytes = allocate(body + 512)};
    size_t head = (size_t)sprintf(answer.bytes, head_format, body);
    memset(answer.bytes + head, '0', body);
    memcpy(answer.bytes + head, "{\"value\":\"", 10);
    memcpy(answer.bytes + head + body - 2, "\"}", 2);
    answer.length = head + body;
    return answer;
}

/* False: the connection is dead. */
static bool flush_answer(struct connection *connection) {
    while (connection->left > 0) {
        ssize_t sent = send(connection->socket, connection->answer, connection->left, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) return false;
            connection->blocked = true;
            watch(poll_set, EPOLL_CTL_MOD, connection->socket, EPOLLOUT, connection);
            return true;
        }
        connection->answer += sent;
        connection->left -= (size_t)sent;
    }
    return true;
}

static void choose(struct connection *connection, size_t head) {
    char *line = strchr(connection->input, '\r');
    *line = 0; /* only the request line counts: other fields may hold the same words */
    bool echo = strstr(connection->input, "/echo"), is_large = strstr(connection->input, "/64k");
    *line = '\r';
    connection->answer = is_large ? large.bytes : small.bytes;
    connection->left = is_large ? large.length : small.length;
    if (echo) {
        size_t length = (size_t)sprintf(connection->echo, head_format, head);
        memcpy(connection->echo + length, connection->input, head);
        connection->answer = connection->echo;
        connection->left = length + head;
    }
}

static void consume(struct connection *connection, size_t bytes) {
    connection->used -= bytes;
    memmove(connection->input, connection->input + bytes, connection->used + 1);
}

/* Answers what is complete in the input, one request after the other. False: the connection is over. */
static bool serve(struct connection *connection) {
    while (!connection->blocked) {
        size_t skip = connection->body < connection->used ? connection->body : connection->used;
        connection->body -= skip;
        if (skip > 0) consume(connection, skip);
        if (connection->body > 0) return true;
        if (connection->left > 0 && !flush_answer(connection)) return false;
        if (connection->blocked || connection->used == 0) return true;

        char *end = memmem(connection->input, connection->used, "\r\n\r\n", 4);
        if (!end) return connection->used < head_limit;
        size_t head = (size_t)(end - connection->input) + 4;
        *end = 0;
        char *length = strcasestr(connection->input, "\r\ncontent-length:");
        connection->body = length ? strtoul(length + 17, NULL, 10) : 0;
        *end = '\r';
        choose(connection, head);
        consume(connection, head);
    }
    return true;
}

static bool ready(struct connection *connection, uint32_t events) {
    if (connection->blocked) {
        if (!(events & EPOLLOUT)) return false;
        connection->blocked = false;
        if (!flush_answer(connection)) return false;
        if (connection->blocked) return true;
        watch(poll_set, EPOLL_CTL_MOD, connection->socket, EPOLLIN, connection);
        return serve(connection);
    }
    ssize_t got = recv(connection->socket, connection->input + connection->used, head_limit - connection->used, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    connection->used += (size_t)got;
    connection->input[connection->used] = 0;
    return serve(connection);
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: upstream PORT\n");
        return 64;
    }
    struct epoll_event events[256];
    int listener = listening(atoi(arguments[1]));
    small = prepare(100);
    large = prepare(65536);
    poll_set = epoll_create1(0);
    watch(poll_set, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int many = epoll_wait(poll_set, events, 256, -1);
        for (int index = 0; index < many; index++) {
            struct connection *connection = events[index].data.ptr;
            if (connection) {
                if (ready(connection, events[index].events)) continue;
                close(connection->socket);
                free(connection);
                continue;
            }
            int socket;
            while ((socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                send_at_once(socket);
                connection = allocate(sizeof *connection);
                connection->socket = socket;
                watch(poll_set, EPOLL_CTL_ADD, socket, EPOLLIN, connection);
            }
        }
    }
}
