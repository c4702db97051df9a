/* Counts what one thread asks of the C library: blocks of memory, copies, and calls that move bytes through sockets.
 *
 * Preloaded (LD_PRELOAD) it stands in front of glibc. Only the thread that called counter_start is counted. What is counted is
 * handed on to other names of glibc and to the kernel, never looked up with dlsym, which allocates and would end up here again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LARGE_BLOCK 65536 /* bytes; a block this large holds a body, or a good part of one */
#define LARGE_COPY 4096   /* bytes; a body goes in copies of at least this, and nothing else does */
#define EXPORT __attribute__((visibility("default")))

struct counts {
    unsigned long allocations, allocated_bytes, large_bytes, copied_bytes, io_calls;
};

static __thread __attribute__((tls_model("initial-exec"))) struct {
    struct counts counts;
    int is_on;
} mine;

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void bcopy(const void *, void *, size_t);

EXPORT void counter_start(void) {
    mine.counts = (struct counts){0};
    mine.is_on = 1;
}

EXPORT void counter_stop(struct counts *counts) {
    mine.is_on = 0;
    *counts = mine.counts;
}

static void allocated(size_t block, size_t bytes) {
    if (!mine.is_on) return;
    mine.counts.allocations++;
    mine.counts.allocated_bytes += bytes;
    if (block >= LARGE_BLOCK) mine.counts.large_bytes += bytes;
}

EXPORT void *malloc(size_t size) {
    allocated(size, size);
    return __libc_malloc(size);
}

EXPORT void *calloc(size_t number, size_t size) {
    allocated(number * size, number * size);
    return __libc_calloc(number, size);
}

/* A block that grows counts by its growth: whether it had to move, and so was copied, is the heap's accident. */
EXPORT void *realloc(void *block, size_t size) {
    size_t had = block == NULL ? 0 : malloc_usable_size(block);
    if (size > had) allocated(size, size - had);
    return __libc_realloc(block, size);
}

EXPORT void *memalign(size_t alignment, size_t size) {
    allocated(size, size);
    return __libc_memalign(alignment, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

EXPORT int posix_memalign(void **block, size_t alignment, size_t size) {
    if (alignment % sizeof(void *) || alignment == 0 || (alignment & (alignment - 1))) return EINVAL;
    void *made = memalign(alignment, size);
    if (made == NULL) return ENOMEM;
    *block = made;
    return 0;
}

/* bcopy is glibc's memmove under a name that nobody else uses. */
static void *copy(void *to, const void *from, size_t size) {
    if (mine.is_on && size >= LARGE_COPY) mine.counts.copied_bytes += size;
    bcopy(from, to, size);
    return to;
}

EXPORT void *memcpy(void *to, const void *from, size_t size) { return copy(to, from, size); }
EXPORT void *memmove(void *to, const void *from, size_t size) { return copy(to, from, size); }
EXPORT void *__memcpy_chk(void *to, const void *from, size_t size, size_t room) { (void)room; return copy(to, from, size); }
EXPORT void *__memmove_chk(void *to, const void *from, size_t size, size_t room) { (void)room; return copy(to, from, size); }

#define IO(number, ...) (mine.counts.io_calls += mine.is_on, syscall(number, __VA_ARGS__))

EXPORT ssize_t read(int fd, void *to, size_t size) { return IO(SYS_read, fd, to, size); }
EXPORT ssize_t write(int fd, const void *from, size_t size) { return IO(SYS_write, fd, from, size); }
EXPORT ssize_t readv(int fd, const struct iovec *parts, int number) { return IO(SYS_readv, fd, parts, number); }
EXPORT ssize_t writev(int fd, const struct iovec *parts, int number) { return IO(SYS_writev, fd, parts, number); }
EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags) { return IO(SYS_recvmsg, fd, message, flags); }
EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags) { return IO(SYS_sendmsg, fd, message, flags); }
EXPORT ssize_t recv(int fd, void *to, size_t size, int flags) { return IO(SYS_recvfrom, fd, to, size, flags, NULL, NULL); }
EXPORT ssize_t send(int fd, const void *from, size_t size, int flags) { return IO(SYS_sendto, fd, from, size, flags, NULL, 0); }
