/* One HTTP request, sent again and again over a few connections that are kept, as lean as can be:
 * it takes part in a measurement and must not be what is measured.
 *
 * Started with an address, a port, how many connections, how many requests, and a file that holds
 * the request's bytes. Prints one line of JSON: how many were answered with 200, how many
 * otherwise, how many answers told of a record that was not written, and the seconds it took. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 1024, ANSWER_BYTES = 1 << 20, EVENTS = 256, OK = 200 };

static const char LENGTH[] = "\r\ncontent-length: ", NOT_WRITTEN[] = "\"offset\":null";

struct connection {
    int fd;
    size_t sent, size; /* of the request that is going out; of the answer so far */
    char *answer;
};

static struct connection connections[MAX_CONNECTIONS];
static char *request;
static size_t request_size;
static long asked, wanted, good, bad, failed;
static int poller;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) fail(path);
    request_size = ftell(file);
    rewind(file);
    request = malloc(request_size);
    if (!request || fread(request, 1, request_size, file) != request_size) fail(path);
    fclose(file);
}

static void listen_for(struct connection *one, int operation, bool wants_to_write) {
    struct epoll_event wish = {.events = EPOLLIN | (wants_to_write ? EPOLLOUT : 0), .data.ptr = one};
    if (epoll_ctl(poller, operation, one->fd, &wish)) fail("epoll_ctl");
}

/* Writes on; the socket tells when it takes more. */
static void write_on(struct connection *one) {
    bool was_cut = one->sent > 0;
    ssize_t size = send(one->fd, request + one->sent, request_size - one->sent, MSG_NOSIGNAL);
    if (size < 0 && errno != EAGAIN) fail("send");
    if (size > 0) one->sent += size;
    bool is_cut = one->sent < request_size;
    if (is_cut != was_cut || is_cut) listen_for(one, EPOLL_CTL_MOD, is_cut);
}

static void ask(struct connection *one) {
    if (asked >= wanted) return;
    asked++;
    one->sent = one->size = 0;
    write_on(one);
}

static void connect_to(struct connection *one, struct sockaddr_in *server) {
    one->answer = malloc(ANSWER_BYTES + 1);
    one->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!one->answer || one->fd < 0) fail("socket");
    if (connect(one->fd, (struct sockaddr *)server, sizeof *server)) fail("connect");
    int yes = 1;
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    listen_for(one, EPOLL_CTL_ADD, false);
}

/* Whether the answer is whole; it has a Content-Length. */
static bool is_whole(struct connection *one) {
    char *end = memmem(one->answer, one->size, "\r\n\r\n", 4);
    if (!end) return false;
    char *length = memmem(one->answer, end - one->answer, LENGTH, sizeof LENGTH - 1);
    size_t body = length ? strtoul(length + sizeof LENGTH - 1, NULL, 10) : 0;
    return one->size >= (size_t)(end + 4 - one->answer) + body;
}

static void on_readable(struct connection *one) {
    ssize_t size = recv(one->fd, one->answer + one->size, ANSWER_BYTES - one->size, MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) fail("recv");
    one->size += size;
    one->answer[one->size] = 0;
    if (!is_whole(one)) return;
    if (atoi(one->answer + sizeof "HTTP/1.1") == OK) good++;
    else if (!bad++) fprintf(stderr, "%s\n", one->answer);
    if (memmem(one->answer, one->size, NOT_WRITTEN, sizeof NOT_WRITTEN - 1)) failed++;
    ask(one);
}

int main(int count, char **arguments) {
    if (count != 6) return 2;
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[2]))};
    inet_pton(AF_INET, arguments[1], &server.sin_addr);
    int many = atoi(arguments[3]);
    if (many < 1 || many > MAX_CONNECTIONS) return 2;
    wanted = atol(arguments[4]);
    read_request(arguments[5]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int index = 0; index < many; index++) connect_to(&connections[index], &server);
    double begun_s = now_s();
    for (int index = 0; index < many; index++) ask(&connections[index]);
    while (good + bad < wanted) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int index = 0; index < ready; index++) {
            struct connection *one = events[index].data.ptr;
            if (events[index].events & EPOLLOUT) write_on(one);
            if (events[index].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(one);
        }
    }
    printf("{\"good\":%ld,\"bad\":%ld,\"failed\":%ld,\"seconds\":%f}\n", good, bad, failed,
           now_s() - begun_s);
    return 0;
}
