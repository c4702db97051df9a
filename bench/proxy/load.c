/* A load generator: each connection sends its next request as soon as the answer to the last one is complete, or, with --rate, so
 * many begin a second whatever is under way.
 *
 *     load --port P --bodies FILE [--connections 1] [--seconds 1.0] [--requests N] [--chunks 0] [--spread-us 0] [--nonce 0]
 *         [--rate 0] [--seed 0] [--lead-s 0]
 *
 * It is C because a router of ten microseconds a request needs a generator that costs less: in Python it would be the limit.
 * Prints one JSON object; times are microseconds. `errors` are answers other than 200, answers that are not whole, and lost
 * connections. With --chunks each answer must be a stream of that many chunks stamped by the replica; --spread-us is the time
 * over which connections begin, so that streams do not all start at one instant; --seconds count from its end. --requests ends the
 * run after that many, where that is earlier. With --rate one request is due in each stretch of 1/rate seconds, at a random moment of
 * it, the same for the same --seed: the connection that has rested longest sends it, where none rests it waits, and its times
 * count from the moment at which it was due. `late` tells how long after that, and after a connection rested, requests were
 * sent: what the generator itself is late. The times of requests that are due within the first --lead-s count nowhere, for the
 * target is not yet as it will be.
 *
 * FILE holds conversations (conversations.h).
 */
#include "answer.h"
#include "conversations.h"

#include <getopt.h>
#include <stddef.h>
#include <sys/resource.h>

#define MAX_CONNECTIONS 1024
#define MAX_ERRORS 1000 /* a target that only fails is left */
#define PATIENCE_S 15   /* how long after the end an answer may still be under way */
#define LINE 512

struct samples {
    uint64_t *ns;
    size_t size, capacity;
};

struct connection {
    int fd, is_waiting_to_write, is_resting;
    struct conversation *in;
    uint32_t turn;
    char request_head[256];
    struct iovec parts[3];
    int part;
    uint64_t began, first_chunk, arrived; /* the last is of the bytes being read */
    uint64_t rested;                      /* since when it rests */
    struct connection *rests_before;      /* with --rate */
    struct answer answer;
    char line[LINE]; /* of the stream */
    size_t line_size, body_size, num_chunks;
    int is_whole;
};

static struct { int port, connections; double seconds, rate; size_t chunks; uint64_t spread_ns, lead_ns, requests, seed; } plan = {
    .connections = 1, .seconds = 1, .requests = UINT64_MAX};
static struct connection all[MAX_CONNECTIONS];
static struct connection *rested_longest, *rested_least;
static struct samples latencies, first_chunks, transits, lateness;
static uint64_t num_begun, num_requests, num_errors, counted_from, stop_at, last_end;
static int epoll, num_active;
static char first_error[128];

static void add(struct samples *to, uint64_t ns)
{
    if (to->size == to->capacity) {
        to->capacity = to->capacity ? 2 * to->capacity : 65536;
        to->ns = realloc(to->ns, to->capacity * sizeof *to->ns);
        if (!to->ns)
            die("realloc");
    }
    to->ns[to->size++] = ns;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_quantiles(const char *name, struct samples *of)
{
    if (!of->size)
        return;
    qsort(of->ns, of->size, sizeof *of->ns, compare);
    printf(", \"%s_p50_us\": %.3f, \"%s_p99_us\": %.3f", name, (double)of->ns[of->size / 2] / 1e3, name,
        (double)of->ns[of->size * 99 / 100] / 1e3);
}

static void connect_to_target(struct connection *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)plan.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    send_at_once(c->fd);
    c->is_waiting_to_write = 0;
    watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLIN, c);
}

static void take_turn(struct connection *c)
{
    if (c->in && ++c->turn < c->in->num_turns)
        return;
    if (c->in)
        c->in->is_taken = 0;
    c->in = take_conversation();
    c->turn = 0;
}

static int send_rest(struct connection *c);

/* Send the next request, which was due then. */
static void send_next(struct connection *c, uint64_t due)
{
    take_turn(c);
    uint32_t text = c->in->ends[c->turn];
    int head = snprintf(c->request_head, sizeof c->request_head,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %u\r\n\r\n",
        plan.port, text + c->in->tail_size);
    c->parts[0] = (struct iovec){c->request_head, (size_t)head};
    c->parts[1] = (struct iovec){c->in->text, text};
    c->parts[2] = (struct iovec){(char *)c->in->tail, c->in->tail_size};
    c->part = 0;
    memset(&c->answer, 0, offsetof(struct answer, line));
    c->line_size = c->body_size = c->num_chunks = 0;
    c->first_chunk = 0;
    c->is_whole = 0;
    c->began = due;
    send_rest(c); /* a connection that was lost is found when its answer is read */
}

static void leave(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    num_active--;
}

static int is_over(uint64_t now)
{
    return now >= stop_at || num_errors >= MAX_ERRORS || num_begun >= plan.requests;
}

/* Send the next request, rest until one is due, or leave where all is sent. */
static void begin(struct connection *c)
{
    uint64_t now = now_ns();
    if (c->is_resting)
        return; /* it was lost while it rested */
    if (is_over(now)) {
        leave(c);
    } else if (plan.rate > 0) {
        c->is_resting = 1;
        c->rested = now;
        c->rests_before = NULL;
        if (rested_longest)
            rested_least->rests_before = c;
        else
            rested_longest = c;
        rested_least = c;
    } else {
        num_begun++;
        send_next(c, now);
    }
}

/* When the next request is due: one is in each stretch of 1/rate, at a random moment of it. */
static uint64_t next_due(uint64_t first)
{
    uint64_t bits = plan.seed += 0x9e3779b97f4a7c15; /* splitmix64 */
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
    bits ^= bits >> 31;
    return first + (uint64_t)(((double)num_begun + (double)(bits >> 11) * 0x1p-53) / plan.rate * NS_PER_S);
}

/* Send what is due, as far as connections rest, and let them go when all is sent; `due` is when the next is, 0 at first. */
static void send_due(uint64_t first, uint64_t *due)
{
    if (!*due)
        *due = next_due(first);
    for (uint64_t now = now_ns(); rested_longest && (*due <= now || is_over(now)); now = now_ns()) {
        struct connection *c = rested_longest;
        rested_longest = c->rests_before;
        c->is_resting = 0;
        if (is_over(now)) {
            leave(c);
            continue;
        }
        num_begun++;
        if (*due >= counted_from)
            add(&lateness, now - (*due > c->rested ? *due : c->rested));
        send_next(c, *due);
        *due = next_due(first);
    }
}

static void fail(struct connection *c, const char *why)
{
    if (!num_errors++)
        snprintf(first_error, sizeof first_error, "%s", why);
    close(c->fd);
    connect_to_target(c);
    begin(c);
}

static int send_rest(struct connection *c)
{
    while (c->part < 3) {
        struct msghdr message = {.msg_iov = c->parts + c->part, .msg_iovlen = (size_t)(3 - c->part)};
        ssize_t done = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && errno == EAGAIN) {
            if (!c->is_waiting_to_write)
                watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, c);
            c->is_waiting_to_write = 1;
            return 1;
        }
        if (done < 0)
            return 0;
        for (size_t left = (size_t)done; c->part < 3; c->part++) {
            struct iovec *part = &c->parts[c->part];
            size_t taken = left < part->iov_len ? left : part->iov_len;
            part->iov_base = (char *)part->iov_base + taken;
            part->iov_len -= taken;
            left -= taken;
            if (part->iov_len)
                break;
        }
    }
    if (c->is_waiting_to_write)
        watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    c->is_waiting_to_write = 0;
    return 1;
}

static void read_line(struct connection *c)
{
    char *stamp = memchr(c->line, '@', c->line_size);
    if (stamp) {
        uint64_t sent = strtoull(stamp + 1, NULL, 10);
        add(&transits, c->arrived > sent ? c->arrived - sent : 0);
        c->num_chunks++;
        if (!c->first_chunk)
            c->first_chunk = c->arrived;
    } else if (c->line_size >= 12 && memcmp(c->line, "data: [DONE]", 12) == 0) {
        c->is_whole = 1;
    }
}

static void read_payload(void *owner, const char *data, size_t size)
{
    struct connection *c = owner;
    c->body_size += size;
    if (!plan.chunks) { /* an answer in JSON: its last byte says whether it is whole */
        c->is_whole = size ? data[size - 1] == '}' : c->is_whole;
        return;
    }
    while (size) {
        const char *end = memchr(data, '\n', size);
        size_t length = end ? (size_t)(end - data) : size, room = LINE - 1 - c->line_size;
        size_t kept = length < room ? length : room;
        memcpy(c->line + c->line_size, data, kept);
        c->line_size += kept;
        c->line[c->line_size] = 0;
        if (!end)
            return;
        read_line(c);
        c->line_size = 0;
        data = end + 1;
        size -= length + 1;
    }
}

static void finish(struct connection *c)
{
    char why[64];
    if (c->answer.status != 200 || !c->is_whole || c->num_chunks != plan.chunks) {
        snprintf(why, sizeof why, "status %d, %zu bytes, %zu chunks%s", c->answer.status, c->body_size, c->num_chunks, c->is_whole ? "" : ", no end");
        fail(c, why);
        return;
    }
    num_requests++;
    last_end = c->arrived;
    if (c->began >= counted_from)
        add(&latencies, c->arrived - c->began);
    if (c->first_chunk && c->began >= counted_from)
        add(&first_chunks, c->first_chunk - c->began);
    begin(c);
}

static void read_answer(struct connection *c)
{
    static char data[1 << 18];
    ssize_t got = recv(c->fd, data, sizeof data, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    c->arrived = now_ns();
    if (got <= 0 || !take(&c->answer, data, (size_t)got, read_payload, c))
        fail(c, got < 0 ? strerror(errno) : got == 0 ? "closed" : "not HTTP/1.1");
    else if (c->answer.is_done)
        finish(c);
}

static void print_result(uint64_t start)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"requests\": %llu, \"errors\": %llu, \"first_error\": \"%s\", \"elapsed_s\": %.6f, \"chunks\": %zu, \"cpu_s\": %.6f",
        (unsigned long long)num_requests, (unsigned long long)num_errors, first_error,
        num_requests ? (double)(last_end - start) / 1e9 : 0.0, transits.size,
        (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    print_quantiles("latency", &latencies);
    print_quantiles("first_chunk", &first_chunks);
    print_quantiles("transit", &transits);
    print_quantiles("late", &lateness);
    printf("}\n");
}

static void run(void)
{
    struct epoll_event events[256];
    uint64_t start = now_ns(), all_begun = start + plan.spread_ns, give_up, next = 0;
    int num_connections = 0;
    counted_from = plan.lead_ns ? all_begun + plan.lead_ns : 0;
    stop_at = all_begun + (uint64_t)(plan.seconds * NS_PER_S);
    give_up = stop_at + PATIENCE_S * NS_PER_S;
    while (num_connections < plan.connections || num_active) {
        uint64_t due = start + plan.spread_ns * (uint64_t)num_connections / (uint64_t)plan.connections, now = now_ns();
        if (num_connections < plan.connections && due <= now) {
            struct connection *c = &all[num_connections++];
            connect_to_target(c);
            num_active++;
            begin(c);
            continue;
        }
        if (now >= give_up)
            break;
        if (num_connections == plan.connections) {
            send_due(all_begun, &next);
            if (!num_active)
                break;
            due = !rested_longest ? give_up : next < stop_at ? next : stop_at;
        }
        int ready = wait_until(epoll, events, 256, due);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if ((events[i].events & EPOLLOUT) && !send_rest(c))
                fail(c, "closed while it was sent to");
            else if (events[i].events & ~EPOLLOUT)
                read_answer(c);
        }
    }
    if (num_active && !num_errors)
        snprintf(first_error, sizeof first_error, "no answer within %d s of the end", PATIENCE_S);
    num_errors += (uint64_t)num_active;
    print_result(plan.rate > 0 ? all_begun : start);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", 1, 0, 'p'}, {"bodies", 1, 0, 'b'}, {"connections", 1, 0, 'c'}, {"seconds", 1, 0, 's'},
        {"chunks", 1, 0, 'k'}, {"spread-us", 1, 0, 'u'}, {"nonce", 1, 0, 'n'},
        {"requests", 1, 0, 'r'}, {"rate", 1, 0, 'a'}, {"seed", 1, 0, 'e'},
        {"lead-s", 1, 0, 'l'}, {0, 0, 0, 0},
    };
    const char *bodies = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'p': plan.port = atoi(optarg); break;
        case 'b': bodies = optarg; break;
        case 'c': plan.connections = atoi(optarg); break;
        case 's': plan.seconds = atof(optarg); break;
        case 'k': plan.chunks = strtoull(optarg, NULL, 10); break;
        case 'u': plan.spread_ns = strtoull(optarg, NULL, 10) * NS_PER_US; break;
        case 'r': plan.requests = strtoull(optarg, NULL, 10); break;
        case 'a': plan.rate = atof(optarg); break;
        case 'e': plan.seed = strtoull(optarg, NULL, 10); break;
        case 'l': plan.lead_ns = (uint64_t)(atof(optarg) * NS_PER_S); break;
        case 'n': nonce = strtoull(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (!plan.port || !bodies || plan.connections < 1 || plan.connections > MAX_CONNECTIONS) {
        fprintf(stderr, "load: --port and --bodies are needed, and 1 to %d connections\n", MAX_CONNECTIONS);
        return 2;
    }
    read_bodies(bodies);
    if (num_conversations < (uint32_t)plan.connections) {
        fprintf(stderr, "load: %u conversations do not go round %d connections\n", num_conversations, plan.connections);
        return 2;
    }
    epoll = epoll_create1(0);
    run();
    return 0;
}
