/* A mock replica: answers the paths that routers ask of vLLM and SGLang, at the least cost on its own core.
 *
 *     replica PORT...          one process listens on all ports; each is a replica
 *
 * It is C because it shares a core with the load generator, and what the two can do bounds every figure: in Python they would be
 * the limit, not the router. A chat request is answered by a completion of a few tokens, or, with "stream":true, by
 * "max_tokens" chunks (one router renames it to "max_completion_tokens"), "seed" microseconds apart. Each chunk carries `@` and the
 * monotonic nanosecond at which it was sent, so that the generator knows how long it was under way.
 */
#include "wire.h"

#define MAX_PORTS 64
#define MAX_EVENTS 256
#define WINDOW 4096 /* of a long body, the first and last bytes are searched for the fields; routers put them at one end */
#define BYTES_PER_TOKEN 4
#define ID "123457," /* every token id that /render tells */
#define MODEL "bench"
#ifndef NUM_GPU_BLOCKS
#define NUM_GPU_BLOCKS 262144 /* of its cache: so large that no router sees a reason to turn away */
#endif
#define TEXT_OF(number) #number
#define TEXT(name) TEXT_OF(name)

struct connection {
    int fd;
    struct buffer in, out;
    size_t sent; /* of out */
    uint64_t due, gap_ns;
    int chunks_left, num_chunks; /* of the stream under way; num_chunks is 0 where there is none */
    int wants_usage, is_waiting_to_write;
    size_t prompt_tokens;
};

static int epoll;
static struct connection **streams;
static size_t num_streams, max_streams;
static char *ids; /* the token ids of the longest prompt so far */
static size_t num_ids;

static void close_connection(struct connection *c)
{
    for (size_t i = 0; i < num_streams; i++)
        if (streams[i] == c)
            streams[i--] = streams[--num_streams];
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

/* Write what is left; 0 where the peer has gone. */
static int flush_out(struct connection *c)
{
    while (c->sent < c->out.size) {
        ssize_t done = send(c->fd, c->out.data + c->sent, c->out.size - c->sent, MSG_NOSIGNAL);
        if (done < 0 && errno == EAGAIN) {
            if (!c->is_waiting_to_write)
                watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, c);
            c->is_waiting_to_write = 1;
            return 1;
        }
        if (done < 0)
            return 0;
        c->sent += (size_t)done;
    }
    c->out.size = c->sent = 0;
    if (c->is_waiting_to_write)
        watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    c->is_waiting_to_write = 0;
    return 1;
}

static void answer(struct connection *c, const char *status, const char *type, const char *body, size_t size)
{
    char head[256];
    int length = snprintf(head, sizeof head, "HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n", status, type, size);
    append(&c->out, head, (size_t)length);
    append(&c->out, body, size);
}

static void answer_json(struct connection *c, const char *body)
{
    answer(c, "200 OK", "application/json", body, strlen(body));
}

/* What follows `key` in the body, NULL where it is not found. */
static const char *find(const char *body, size_t size, const char *key)
{
    size_t length = strlen(key);
    const char *at = memmem(body, size < 2 * WINDOW ? size : WINDOW, key, length);
    if (!at && size >= 2 * WINDOW)
        at = memmem(body + size - WINDOW, WINDOW, key, length);
    return at ? at + length + strspn(at + length, " ") : NULL;
}

static int is_true(const char *body, size_t size, const char *key)
{
    const char *at = find(body, size, key);
    return at && *at == 't';
}

static long number(const char *body, size_t size, const char *key, long otherwise)
{
    const char *at = find(body, size, key);
    return at ? strtol(at, NULL, 10) : otherwise;
}

static void append_event(struct connection *c, const char *event, int length)
{
    char size[16];
    append(&c->out, size, (size_t)snprintf(size, sizeof size, "%x\r\n", (unsigned)length));
    append(&c->out, event, (size_t)length);
    append(&c->out, "\r\n", 2);
}

#define CHUNK "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"" MODEL "\",\"choices\":["
#define USAGE "\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu,\"completion_tokens\":%zu}"

/* Write the chunk that is due, after the last one the end; 0 where the peer has gone. */
static int write_chunk(struct connection *c)
{
    char event[512];
    if (c->chunks_left > 0) {
        int length = snprintf(event, sizeof event,
            CHUNK "{\"index\":0,\"delta\":{%s\"content\":\"@%llu \"},\"finish_reason\":null}]}\n\n",
            c->chunks_left == c->num_chunks ? "\"role\":\"assistant\"," : "", (unsigned long long)now_ns());
        append_event(c, event, length);
        c->chunks_left--;
        c->due += c->gap_ns;
        return flush_out(c);
    }
    append_event(c, event, snprintf(event, sizeof event, CHUNK "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"));
    if (c->wants_usage) {
        size_t told = (size_t)c->num_chunks;
        append_event(c, event, snprintf(event, sizeof event, CHUNK "]," USAGE "}\n\n", c->prompt_tokens, c->prompt_tokens + told, told));
    }
    append_event(c, "data: [DONE]\n\n", 14);
    append(&c->out, "0\r\n\r\n", 5);
    c->num_chunks = 0;
    return flush_out(c);
}

static void begin_stream(struct connection *c, const char *body, size_t size)
{
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    append(&c->out, head, sizeof head - 1);
    long wanted = number(body, size, "\"max_tokens\":", number(body, size, "\"max_completion_tokens\":", 16));
    c->num_chunks = wanted < 1 ? 1 : (int)wanted;
    c->chunks_left = c->num_chunks;
    c->gap_ns = (uint64_t)number(body, size, "\"seed\":", 0) * NS_PER_US;
    c->wants_usage = is_true(body, size, "\"include_usage\":");
    c->prompt_tokens = size / BYTES_PER_TOKEN;
    c->due = now_ns();
    if (num_streams == max_streams) {
        max_streams = max_streams ? 2 * max_streams : 64;
        streams = realloc(streams, max_streams * sizeof *streams);
        if (!streams)
            die("realloc");
    }
    streams[num_streams++] = c;
}

static void complete(struct connection *c, size_t size)
{
    char body[640];
    size_t prompt = size / BYTES_PER_TOKEN, told = 8;
    snprintf(body, sizeof body,
        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"" MODEL "\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"Tests pass; the change is done.\"},\"finish_reason\":\"stop\"}]," USAGE "}",
        prompt, prompt + told, told);
    answer_json(c, body);
}

/* vLLM's /render: the prompt's token ids. They are prepared, as the cost of a tokenizer is not the router's. */
static void render(struct connection *c, size_t size)
{
    static const char begin[] = "{\"request_id\":\"render-1\",\"token_ids\":[", end[] = "],\"sampling_params\":{},\"model\":\"" MODEL "\"}";
    size_t wanted = size / BYTES_PER_TOKEN + 1, width = sizeof ID - 1;
    if (wanted > num_ids) {
        ids = realloc(ids, wanted * width);
        if (!ids)
            die("realloc");
        for (; num_ids < wanted; num_ids++)
            memcpy(ids + num_ids * width, ID, width);
    }
    char head[128];
    size_t told = wanted * width - 1; /* without the last comma */
    int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n",
        sizeof begin - 1 + told + sizeof end - 1);
    append(&c->out, head, (size_t)length);
    append(&c->out, begin, sizeof begin - 1);
    append(&c->out, ids, told);
    append(&c->out, end, sizeof end - 1);
}

/* Load is reported as light, and the cache so large that no router sees a reason to turn away. */
static const char METRICS[] =
    "vllm:num_requests_running{engine=\"0\",model_name=\"" MODEL "\"} 1\n"
    "vllm:num_requests_waiting{engine=\"0\",model_name=\"" MODEL "\"} 0\n"
    "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"" MODEL "\"} 0.5\n"
    "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"" TEXT(NUM_GPU_BLOCKS) "\",prefix_caching_hash_algo=\"sha256\",engine=\"0\"} 1\n"
    "process_start_time_seconds 1\n";

static const struct { const char *path, *body; } PAGES[] = {
    {"/v1/models ", "{\"object\":\"list\",\"data\":[{\"id\":\"" MODEL "\",\"object\":\"model\",\"created\":1,\"owned_by\":\"vllm\","
                    "\"root\":\"" MODEL "\",\"parent\":null,\"max_model_len\":1048576}]}"},
    {"/version ", "{\"version\":\"0.32.0\"}"},
    {"/health ", "{}"},
    {"/load ", "{\"server_load\":1}"},
    {"/get_load ", "[{\"dp_rank\":0,\"num_reqs\":1,\"num_waiting_reqs\":0,\"num_tokens\":100}]"},
    {"/get_model_info ", "{\"model_path\":\"" MODEL "\",\"tokenizer_path\":\"" MODEL "\",\"is_generation\":true}"},
    {"/model_info ", "{\"model_path\":\"" MODEL "\",\"tokenizer_path\":\"" MODEL "\",\"is_generation\":true}"},
    {"/get_server_info ", "{\"model_path\":\"" MODEL "\",\"served_model_name\":\"" MODEL "\",\"tp_size\":1,\"dp_size\":1}"},
    {"/server_info ", "{\"model_path\":\"" MODEL "\",\"served_model_name\":\"" MODEL "\",\"tp_size\":1,\"dp_size\":1}"},
};

static int begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static void serve(struct connection *c, const char *head, const char *body, size_t size)
{
    if (begins(head, "POST /v1/chat/completions ")) {
        if (is_true(body, size, "\"stream\":"))
            begin_stream(c, body, size);
        else
            complete(c, size);
        return;
    }
    if (begins(head, "POST /v1/chat/completions/render ")) {
        render(c, size);
        return;
    }
    if (begins(head, "GET /metrics ")) {
        answer(c, "200 OK", "text/plain; version=0.0.4", METRICS, sizeof METRICS - 1);
        return;
    }
    for (size_t i = 0; i < sizeof PAGES / sizeof *PAGES; i++)
        if (begins(head, "GET ") && begins(head + 4, PAGES[i].path)) {
            answer_json(c, PAGES[i].body);
            return;
        }
    answer(c, "404 Not Found", "application/json", "{}", 2);
}

/* Serve every request that has arrived whole, but none while a stream is under way; 0 where the peer has gone. */
static int serve_all(struct connection *c)
{
    size_t done = 0;
    while (!c->num_chunks) {
        char *head = c->in.data + done;
        size_t left = c->in.size - done;
        char *end = left ? memmem(head, left, "\r\n\r\n", 4) : NULL;
        if (!end)
            break;
        size_t head_size = (size_t)(end - head) + 4;
        const char *length = header(head, head_size, "\r\ncontent-length:");
        size_t size = length ? strtoull(length, NULL, 10) : 0;
        if (header(head, head_size, "\r\ntransfer-encoding:")) {
            answer(c, "411 Length Required", "application/json", "{}", 2);
            c->in.size = done = 0;
            break;
        }
        if (left < head_size + size) {
            reserve(&c->in, head_size + size - left);
            break;
        }
        serve(c, head, head + head_size, size);
        done += head_size + size;
    }
    if (done) {
        c->in.size -= done;
        memmove(c->in.data, c->in.data + done, c->in.size);
    }
    return c->num_chunks && c->chunks_left == c->num_chunks ? write_chunk(c) : flush_out(c);
}

/* Read and serve; 0 where the peer has gone. */
static int read_some(struct connection *c)
{
    for (;;) {
        reserve(&c->in, 65536);
        size_t room = c->in.capacity - c->in.size;
        ssize_t got = recv(c->fd, c->in.data + c->in.size, room, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return 0;
        if (got > 0)
            c->in.size += (size_t)got;
        if (got < (ssize_t)room)
            return serve_all(c);
    }
}

/* Write every chunk that is due; the time of the next one, 0 where no stream is under way. */
static uint64_t write_due(void)
{
    uint64_t now = now_ns(), next = 0;
    for (size_t i = 0; i < num_streams; i++) {
        struct connection *c = streams[i];
        int is_gone = c->due <= now && !write_chunk(c);
        if (!is_gone && c->num_chunks) {
            next = !next || c->due < next ? c->due : next;
            continue;
        }
        streams[i--] = streams[--num_streams]; /* first, for the next request may begin a stream again */
        if (is_gone || !serve_all(c))
            close_connection(c);
    }
    return next;
}

static int listen_on(int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 1024) < 0)
        die("listen");
    return fd;
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            die("calloc");
        c->fd = fd;
        send_at_once(fd);
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

int main(int argc, char **argv)
{
    static int listeners[MAX_PORTS];
    struct epoll_event events[MAX_EVENTS];
    if (argc < 2 || argc > MAX_PORTS + 1) {
        fprintf(stderr, "usage: replica PORT...\n");
        return 2;
    }
    epoll = epoll_create1(0);
    for (int i = 1; i < argc; i++) {
        listeners[i - 1] = listen_on(atoi(argv[i]));
        watch(epoll, EPOLL_CTL_ADD, listeners[i - 1], EPOLLIN, &listeners[i - 1]);
    }
    for (;;) {
        int ready = wait_until(epoll, events, MAX_EVENTS, write_due());
        for (int i = 0; i < ready; i++) {
            int *listener = events[i].data.ptr;
            if (listener >= listeners && listener < listeners + MAX_PORTS) {
                accept_all(*listener);
                continue;
            }
            struct connection *c = events[i].data.ptr;
            if (((events[i].events & EPOLLOUT) && !flush_out(c)) || ((events[i].events & ~EPOLLOUT) && !read_some(c)))
                close_connection(c);
        }
    }
}
