/* What the load generator and the mock replica share: the clock, a growing buffer, and two looks at an HTTP/1.1 head. */
#ifndef BENCH_PROXY_WIRE_H
#define BENCH_PROXY_WIRE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem, epoll_pwait2, accept4 */
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define NS_PER_US 1000ull

struct buffer {
    char *data;
    size_t size, capacity;
};

static inline _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "wrong");
    exit(1);
}

/* Monotonic nanoseconds; both programs run on one machine, so that their clocks are one. */
static inline uint64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec;
}

/* Make room for `more` bytes after what `to` holds. */
static inline void reserve(struct buffer *to, size_t more)
{
    if (to->size + more <= to->capacity)
        return;
    size_t wanted = to->capacity ? to->capacity : 4096;
    while (wanted < to->size + more)
        wanted *= 2;
    to->data = realloc(to->data, wanted);
    if (!to->data)
        die("realloc");
    to->capacity = wanted;
}

static inline void append(struct buffer *to, const void *data, size_t size)
{
    reserve(to, size);
    memcpy(to->data + to->size, data, size);
    to->size += size;
}

/* Wait for events until `due` (0: without end), to the nanosecond, where epoll_wait rounds to milliseconds. */
static inline int wait_until(int epoll, struct epoll_event *events, int max, uint64_t due)
{
    struct timespec left, *timeout = NULL;
    if (due) {
        uint64_t now = now_ns(), ns = due > now ? due - now : 0;
        left = (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
        timeout = &left;
    }
    int ready = epoll_pwait2(epoll, events, max, timeout, NULL);
    if (ready < 0 && errno != EINTR)
        die("epoll_pwait2");
    return ready < 0 ? 0 : ready;
}

/* The value of a header field of a head that ends with an empty line, NULL where it is absent; `name` is like "\r\nhost:". */
static inline const char *header(const char *head, size_t size, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = head; (at = memchr(at, '\r', size - (size_t)(at - head))); at++) {
        if (size - (size_t)(at - head) < length)
            return NULL;
        if (strncasecmp(at, name, length) == 0)
            return at + length + strspn(at + length, " \t");
    }
    return NULL;
}

static inline void watch(int epoll, int operation, int fd, uint32_t events, void *owner)
{
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(epoll, operation, fd, &event) < 0)
        die("epoll_ctl");
}

static inline void send_at_once(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

#endif
