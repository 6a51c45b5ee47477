/* Reads answers: HTTP heads, chunks, frames of server-sent events, records. */

#define _GNU_SOURCE
#include "answers.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct tally tally;

static bool begins(const char *at, const char *end, const char *word) {
    size_t size = strlen(word);
    return (size_t)(end - at) >= size && !strncasecmp(at, word, size);
}

/* Returns the number behind a member's name, or `other`. */
static int64_t number_of(const char *at, const char *end, const char *name, int64_t other) {
    const char *found = memmem(at, end - at, name, strlen(name));
    if (!found) return other;
    const char *first = found + strlen(name), *digit = first;
    int64_t number = 0;
    for (; digit < end && *digit >= '0' && *digit <= '9'; digit++)
        number = number * 10 + *digit - '0';
    return digit > first ? number : other;
}

static void on_head_line(struct stream *stream, const char *at, const char *end) {
    if (end > at && end[-1] == '\r') end--;
    if (begins(at, end, "HTTP/1.1 ")) stream->status = atoi(at + 9);
    if (begins(at, end, "transfer-encoding: chunked")) stream->is_chunked = true;
    if (begins(at, end, "retry-after: ")) stream->retry_ms = 1000 * atoi(at + 13);
    if (at < end) return;
    stream->phase = stream->is_chunked ? SIZE : PLAIN;
    stream->chunk_left = 0;
    if (stream->status == 200) return;
    tally.refused++;
    if (stream->status >= 500) {
        tally.refused_5xx++;
        tally.last_5xx_us = now_us - asked_us;
    } else if (stream->status != 429) {
        stream->has_given_up = true;
    }
}

static void count_latency(int64_t latency_us) {
    int64_t bucket = latency_us / BUCKET_US;
    if (bucket < 0) bucket = 0;
    if (bucket >= BUCKETS) bucket = BUCKETS - 1;
    tally.latencies[bucket]++;
}

static void on_record(struct stream *stream, const char *at, const char *end) {
    int64_t partition = number_of(at, end, "\"partition\":", PARTITIONS);
    int64_t offset = number_of(at, end, "\"offset\":", -1);
    if (partition >= PARTITIONS || offset < 0) {
        tally.errors++;
        return;
    }
    int64_t *next = stream->next + partition;
    if (offset < *next) {
        tally.repeats++;
        return;
    }
    if (*next >= 0) tally.holes += offset - *next;
    *next = offset + 1;
    stream->fresh++;
    count_latency(now_us - number_of(at, end, "\"sent_at_us\":", now_us));
    if (!tally.records++) tally.first_us = now_us;
    tally.last_us = now_us;
}

static void count_reason(const char *name, size_t size) {
    for (int index = 0; index < REASONS && size < REASON_BYTES; index++) {
        char *known = tally.reasons[index].name;
        if (!*known) memcpy(known, name, size);
        if (strlen(known) != size || memcmp(known, name, size)) continue;
        tally.reasons[index].count++;
        return;
    }
}

static void on_closing(struct stream *stream, const char *at, const char *end) {
    static const char member[] = "\"reason\":\"", stop[] = "\"action\":\"stop\"";
    const char *reason = memmem(at, end - at, member, sizeof member - 1);
    if (memmem(at, end - at, stop, sizeof stop - 1)) stream->has_given_up = true;
    stream->retry_ms = number_of(at, end, "\"retry_ms\":", stream->retry_ms);
    tally.soft += !stream->is_live;
    if (!reason) return;
    reason += sizeof member - 1;
    const char *quote = memchr(reason, '"', end - reason);
    if (quote) count_reason(reason, quote - reason);
}

static void on_content(struct stream *stream, const char *at, const char *end) {
    if (stream->kind == MESSAGE) on_record(stream, at, end);
    if (stream->kind == CLOSING) on_closing(stream, at, end);
    tally.gaps += stream->kind == GAP;
    if (stream->kind != HEARTBEAT || stream->is_live) return;
    stream->is_live = true;
    tally.last_live_us = now_us - asked_us;
}

static enum kind kind_of(const char *at, const char *end) {
    if (begins(at, end, "heartbeat")) return HEARTBEAT;
    if (begins(at, end, "gap")) return GAP;
    return begins(at, end, "closing") ? CLOSING : OTHER;
}

static void on_line(struct stream *stream, const char *at, const char *end) {
    if (at == end) { /* the frame is whole: only now its id counts */
        if (*stream->next_id) strcpy(stream->id, stream->next_id);
        *stream->next_id = 0;
        stream->kind = MESSAGE;
    } else if (begins(at, end, "data: ")) {
        on_content(stream, at + 6, end);
    } else if (begins(at, end, "event: ")) {
        stream->kind = kind_of(at + 7, end);
    } else if (begins(at, end, "id: ") && end - at - 4 < ID_BYTES) {
        memcpy(stream->next_id, at + 4, end - at - 4);
        stream->next_id[end - at - 4] = 0;
    } else if (begins(at, end, "retry: ")) {
        stream->retry_ms = atoi(at + 7);
    }
}

static void keep(struct stream *stream, const char *at, const char *end) {
    size_t size = end - at;
    if (stream->line_size + size > stream->line_room) {
        stream->line_room = 2 * (stream->line_size + size);
        stream->line = realloc(stream->line, stream->line_room);
        if (!stream->line) fail("realloc");
    }
    memcpy(stream->line + stream->line_size, at, size);
    stream->line_size += size;
}

/* Takes whole lines, keeps the rest; returns where it stopped: a head ends before the bytes do. */
static const char *on_lines(struct stream *stream, const char *at, const char *end) {
    bool is_head = stream->phase == HEAD;
    while (at < end && is_head == (stream->phase == HEAD)) {
        const char *newline = memchr(at, '\n', end - at), *from = at, *to = newline;
        if (!newline || stream->line_size) keep(stream, at, newline ? newline : end);
        if (!newline) return end;
        if (stream->line_size) {
            from = stream->line;
            to = from + stream->line_size;
        }
        stream->line_size = 0;
        (is_head ? on_head_line : on_line)(stream, from, to);
        at = newline + 1;
    }
    return at;
}

static int hex_of(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    digit |= 'a' - 'A';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* One byte around a chunk: of its size, or of the line end behind it. */
static void on_frame_byte(struct stream *stream, char byte) {
    int digit = hex_of(byte);
    if (stream->phase == SIZE && digit >= 0) stream->chunk_left = stream->chunk_left * 16 + digit;
    if (byte == '\n') stream->phase = stream->phase == AFTER ? SIZE : CONTENT;
}

void on_bytes(struct stream *stream, const char *at, const char *end) {
    while (at < end) {
        if (stream->phase == HEAD || stream->phase == PLAIN) {
            at = on_lines(stream, at, end);
        } else if (stream->phase == CONTENT) {
            size_t size = end - at;
            if (size > stream->chunk_left) size = stream->chunk_left;
            on_lines(stream, at, at + size);
            at += size;
            stream->chunk_left -= size;
            if (!stream->chunk_left) stream->phase = AFTER;
        } else {
            on_frame_byte(stream, *at++);
        }
    }
}
