/* Reads an HTTP/1.1 answer from what arrives, however it is split: the head, then a body by length or in chunks. */
#ifndef BENCH_PROXY_ANSWER_H
#define BENCH_PROXY_ANSWER_H

#include "wire.h"

enum phase { HEAD, FIXED, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER };

/* To be zeroed up to `line` before each answer. */
struct answer {
    enum phase phase;
    int status, is_done;
    size_t head_size, line_size, left;
    char line[32], head[8192];
};

typedef void payload_reader(void *owner, const char *data, size_t size);

/* Take the head from what has arrived; bytes used of it, or -1 where it is wrong. */
static inline ssize_t read_head(struct answer *a, const char *data, size_t size)
{
    size_t before = a->head_size, room = sizeof a->head - 1 - before, kept = size < room ? size : room;
    memcpy(a->head + before, data, kept);
    a->head_size += kept;
    a->head[a->head_size] = 0;
    char *end = memmem(a->head, a->head_size, "\r\n\r\n", 4);
    if (!end)
        return kept == size ? (ssize_t)size : -1;
    size_t head_size = (size_t)(end - a->head) + 4;
    if (memcmp(a->head, "HTTP/1.1 ", 9) != 0)
        return -1;
    a->status = atoi(a->head + 9);
    const char *length = header(a->head, head_size, "\r\ncontent-length:");
    if (header(a->head, head_size, "\r\ntransfer-encoding:"))
        a->phase = CHUNK_SIZE;
    else if (length)
        a->phase = FIXED;
    else
        return -1;
    a->left = length ? strtoull(length, NULL, 10) : 0;
    a->is_done = a->phase == FIXED && !a->left;
    return (ssize_t)(head_size - before);
}

/* One byte of chunked framing; the end of its line moves on to what follows. */
static inline void read_framing(struct answer *a, char byte)
{
    if (byte != '\n') {
        if (byte != '\r' && a->line_size < sizeof a->line - 1)
            a->line[a->line_size++] = byte;
        return;
    }
    a->line[a->line_size] = 0;
    if (a->phase == CHUNK_SIZE) {
        a->left = strtoull(a->line, NULL, 16);
        a->phase = a->left ? CHUNK : TRAILER;
    } else if (a->phase == CHUNK_END) {
        a->phase = CHUNK_SIZE;
    } else {
        a->is_done = a->line_size == 0;
    }
    a->line_size = 0;
}

/* Take what has arrived and hand on the body; 0 where it is not HTTP/1.1, or goes on after the end. */
static inline int take(struct answer *a, const char *data, size_t size, payload_reader *read, void *owner)
{
    while (size && !a->is_done) {
        size_t used = 1;
        if (a->phase == HEAD) {
            ssize_t head = read_head(a, data, size);
            if (head < 0)
                return 0;
            used = (size_t)head;
        } else if (a->phase == FIXED || a->phase == CHUNK) {
            used = size < a->left ? size : a->left;
            read(owner, data, used);
            a->left -= used;
            if (!a->left && a->phase == FIXED)
                a->is_done = 1;
            else if (!a->left)
                a->phase = CHUNK_END;
        } else {
            read_framing(a, *data);
        }
        data += used;
        size -= used;
    }
    return size == 0;
}

#endif
