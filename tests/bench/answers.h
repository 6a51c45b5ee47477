/* What is known of one stream, and what all of them counted; see listeners.c. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARTITIONS = 16, ID_BYTES = 1024, REASONS = 16, REASON_BYTES = 32 };
enum { BUCKET_US = 100, BUCKETS = 600000 }; /* latencies up to a minute */

/* Where a stream stands. SIZE, CONTENT and AFTER are the parts of a chunk, PLAIN is without them. */
enum phase { IDLE, CONNECTING, HEAD, SIZE, CONTENT, AFTER, PLAIN };
enum kind { MESSAGE, HEARTBEAT, GAP, CLOSING, OTHER };

struct stream {
    int fd; /* -1 while there is no connection */
    enum phase phase;
    enum kind kind; /* of the frame that is being read */
    bool is_chunked, is_live, is_stalled, has_given_up;
    int status;
    int64_t due_us; /* when to connect, 0 for never */
    int64_t retry_ms;
    size_t chunk_left;
    int64_t next[PARTITIONS]; /* offset that comes next, -1 while unknown */
    int64_t fresh;            /* records since the last reset, copies not counted */
    char id[ID_BYTES], next_id[ID_BYTES];
    char *line; /* the beginning of a line whose end has not come yet */
    size_t line_size, line_room;
};

struct tally {
    int64_t records, bytes, holes, repeats, gaps, errors, ended, refused, refused_5xx, soft;
    int64_t last_5xx_us, last_live_us; /* since the last command */
    int64_t first_us, last_us;         /* of the records */
    int64_t latencies[BUCKETS];
    struct {
        char name[REASON_BYTES];
        int64_t count;
    } reasons[REASONS]; /* of endings */
};

extern struct tally tally;
extern int64_t now_us;   /* when the bytes in hand were read */
extern int64_t asked_us; /* when the last command came */

/* Takes bytes of an answer, cut anywhere. */
void on_bytes(struct stream *stream, const char *at, const char *end);
void fail(const char *what);
