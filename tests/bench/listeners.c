/* Thousands of SSE clients in one thread, as lean as they can be: they take part in a measurement
 * and must not be what is measured. Started with an address, a port and the head of a request.
 *
 * Lines on standard input tell it what to do; after each it prints one line of JSON.
 *   open N RATE   N more streams, RATE a second
 *   cut           resets all connections at once
 *   back RATE     whatever was cut connects again, with its Last-Event-ID
 *   stall N       the last N streams read no more
 *   reset         counters begin anew
 *   report        nothing
 *
 * Every record is checked: in each stream and partition, offsets go up one by one. A record's value
 * carries "sent_at_us", the time it was produced at, by the clock of this machine. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "answers.h"

enum { READ_BYTES = 1 << 18, REQUEST_BYTES = 8192, EVENTS = 512, MAX_STREAMS = 100000 };
enum { FIRST_RETRY_MS = 3000, COMMANDS = -1 };

int64_t now_us, asked_us;

static struct stream *streams;
static int stream_count, stream_room, waiting, poller;
static struct sockaddr_in server;
static const char *request_head;

void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t clock_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void wait_until(struct stream *stream, int64_t due_us) {
    waiting += !stream->due_us;
    stream->due_us = due_us;
}

static void wait_no_more(struct stream *stream) {
    waiting -= stream->due_us != 0;
    stream->due_us = 0;
}

static void drop(struct stream *stream) {
    if (stream->fd >= 0) close(stream->fd);
    stream->fd = -1;
    stream->phase = IDLE;
    stream->is_live = false;
    stream->line_size = 0;
    *stream->next_id = 0;
}

/* A stream ended by itself: come back as a browser would, unless it was told to stay away. */
static void on_end(struct stream *stream) {
    drop(stream);
    tally.ended++;
    if (!stream->has_given_up) wait_until(stream, now_us + stream->retry_ms * 1000);
}

static void connect_now(struct stream *stream) {
    wait_no_more(stream);
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (stream->fd < 0) fail("socket");
    int yes = 1;
    setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    stream->retry_ms = FIRST_RETRY_MS;
    stream->status = 0;
    stream->is_chunked = false;
    stream->kind = MESSAGE;
    if (connect(stream->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) {
        on_end(stream);
        return;
    }
    stream->phase = CONNECTING;
    struct epoll_event wish = {.events = EPOLLOUT, .data.u32 = stream - streams};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, stream->fd, &wish)) fail("epoll_ctl");
}

static void send_request(struct stream *stream) {
    static char text[REQUEST_BYTES];
    const char *name = *stream->id ? "Last-Event-ID: " : "", *line_end = *stream->id ? "\r\n" : "";
    int size = snprintf(text, sizeof text, "%s\r\n%s%s%s\r\n", request_head, name, stream->id, line_end);
    if (write(stream->fd, text, size) != size) { /* refused, or reset: a whole head always fits */
        on_end(stream);
        return;
    }
    stream->phase = HEAD;
    struct epoll_event wish = {.events = EPOLLIN, .data.u32 = stream - streams};
    epoll_ctl(poller, EPOLL_CTL_MOD, stream->fd, &wish);
}

static void on_readable(struct stream *stream) {
    static char bytes[READ_BYTES];
    ssize_t size = read(stream->fd, bytes, sizeof bytes);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    now_us = clock_us();
    if (size > 0) {
        tally.bytes += size;
        on_bytes(stream, bytes, bytes + size);
    }
    bool is_refused = stream->phase != HEAD && stream->status != 200;
    if (size <= 0 || is_refused) on_end(stream);
}

static double percentile_ms(double share) {
    int64_t left = (tally.records - 1) * share;
    int bucket = 0;
    while (bucket < BUCKETS - 1 && left >= tally.latencies[bucket]) left -= tally.latencies[bucket++];
    return bucket * BUCKET_US / 1000.0;
}

static void print_streams(void) {
    int64_t live = 0, given_up = 0, least = INT64_MAX, most = 0;
    for (struct stream *stream = streams; stream < streams + stream_count; stream++) {
        live += stream->is_live;
        given_up += stream->has_given_up;
        if (stream->is_stalled) continue;
        if (stream->fresh < least) least = stream->fresh;
        if (stream->fresh > most) most = stream->fresh;
    }
    printf("\"streams\":%d,\"live\":%ld,\"given_up\":%ld,", stream_count, live, given_up);
    printf("\"least\":%ld,\"most\":%ld", stream_count ? least : 0, most);
}

static void print_endings(void) {
    printf("\"ended\":%ld,\"endings\":{", tally.ended);
    for (int index = 0; index < REASONS && *tally.reasons[index].name; index++)
        printf("%s\"%s\":%ld", index ? "," : "", tally.reasons[index].name, tally.reasons[index].count);
    printf("},\"refused\":%ld,\"refused_5xx\":%ld,", tally.refused, tally.refused_5xx);
    printf("\"last_5xx_ms\":%ld,\"soft\":%ld", tally.last_5xx_us / 1000, tally.soft);
}

static void report(void) {
    printf("{");
    print_streams();
    printf(",\"records\":%ld,\"bytes\":%ld,\"holes\":%ld,", tally.records, tally.bytes, tally.holes);
    printf("\"repeats\":%ld,\"gaps\":%ld,\"errors\":%ld,", tally.repeats, tally.gaps, tally.errors);
    print_endings();
    printf(",\"live_after_ms\":%ld,", tally.last_live_us / 1000);
    printf("\"seconds\":%.3f,", (tally.last_us - tally.first_us) / 1e6);
    printf("\"p50_ms\":%.1f,\"p99_ms\":%.1f,", percentile_ms(0.5), percentile_ms(0.99));
    printf("\"max_ms\":%.1f}\n", percentile_ms(1));
    fflush(stdout);
}

static void reset(void) {
    memset(&tally, 0, sizeof tally);
    for (int index = 0; index < stream_count; index++) streams[index].fresh = 0;
}

static void open_more(int count, double rate) {
    if (stream_count + count > stream_room) {
        fprintf(stderr, "the open-file limit leaves room for %d streams\n", stream_room);
        exit(1);
    }
    for (int index = 0; index < count; index++) {
        struct stream *stream = streams + stream_count++;
        memset(stream, 0, sizeof *stream);
        memset(stream->next, -1, sizeof stream->next);
        stream->fd = -1;
        wait_until(stream, asked_us + index * 1e6 / rate);
    }
}

static void cut(void) {
    struct linger at_once = {.l_onoff = 1, .l_linger = 0}; /* resets instead of a long goodbye */
    for (struct stream *stream = streams; stream < streams + stream_count; stream++) {
        if (stream->fd >= 0)
            setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        drop(stream);
        wait_no_more(stream);
    }
}

static void come_back(double rate) {
    for (int index = 0; index < stream_count; index++)
        if (streams[index].phase == IDLE)
            wait_until(streams + index, asked_us + index * 1e6 / rate);
}

static void stall(int count) {
    for (int index = stream_count - count; index < stream_count; index++) {
        epoll_ctl(poller, EPOLL_CTL_DEL, streams[index].fd, NULL);
        streams[index].is_stalled = true;
    }
}

static void on_command(void) {
    char line[256], word[16] = "";
    double first = 0, second = 0;
    if (!fgets(line, sizeof line, stdin)) exit(0);
    sscanf(line, "%15s %lf %lf", word, &first, &second);
    now_us = clock_us();
    if (strcmp(word, "report")) asked_us = now_us;
    if (!strcmp(word, "open")) open_more(first, second);
    if (!strcmp(word, "cut")) cut();
    if (!strcmp(word, "back")) come_back(first);
    if (!strcmp(word, "stall")) stall(first);
    if (!strcmp(word, "reset")) reset();
    report();
}

static void connect_due(void) {
    now_us = clock_us();
    for (int index = 0; waiting && index < stream_count; index++)
        if (streams[index].due_us && streams[index].due_us <= now_us) connect_now(streams + index);
}

static void on_event(const struct epoll_event *event) {
    if (event->data.u32 == (uint32_t)COMMANDS) {
        on_command();
        return;
    }
    struct stream *stream = streams + event->data.u32;
    if (stream->fd < 0) return; /* cut by a command that came in the same turn */
    if (stream->phase == CONNECTING) send_request(stream);
    else on_readable(stream);
}

static int room_for_streams(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    return files.rlim_max > MAX_STREAMS ? MAX_STREAMS : (int)files.rlim_max - 16;
}

int main(int count, char **words) {
    if (count != 4) return 2;
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    if (inet_pton(AF_INET, words[1], &server.sin_addr) != 1) return 2;
    request_head = words[3];
    stream_room = room_for_streams();
    streams = malloc(stream_room * sizeof *streams); /* pages are taken when a stream is opened */
    poller = epoll_create1(0);
    struct epoll_event wish = {.events = EPOLLIN, .data.u32 = COMMANDS}, ready[EVENTS];
    setvbuf(stdin, NULL, _IONBF, 0); /* so that no command is read and not seen */
    if (!streams || epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &wish)) fail("start");
    for (;;) {
        int found = epoll_wait(poller, ready, EVENTS, waiting ? 1 : -1);
        for (int index = 0; index < found; index++) on_event(ready + index);
        if (waiting) connect_due();
    }
}
