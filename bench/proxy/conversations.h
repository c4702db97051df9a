/* The bodies that the load generator sends, read from a file of conversations, and who walks through which.
 *
 * FILE holds conversations: "TWB1", their number, then of each (all numbers 32 bits, little endian)
 *     number of turns | offset of the nonce, 0 for none | bytes of text | bytes of tail | where each turn ends in the text | text | tail
 * The body of a turn is the text up to its end, and the tail. A connection takes the next conversation that nobody is in, walks
 * through its turns and takes another. The nonce, 16 digits counted up from --nonce, is written anew each time a conversation is
 * taken: what follows it was never sent before. Each conversation is padded to a multiple of four bytes.
 */
#ifndef BENCH_PROXY_CONVERSATIONS_H
#define BENCH_PROXY_CONVERSATIONS_H

#include "wire.h"

#define NONCE_DIGITS 16

struct conversation {
    uint32_t num_turns, nonce_at, text_size, tail_size;
    const uint32_t *ends;
    char *text;
    const char *tail;
    int is_taken;
};

static struct conversation *conversations;
static uint32_t num_conversations, next_conversation;
static uint64_t nonce;

static void read_bodies(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) < 0)
        die(path);
    long size = ftell(file);
    char *at = malloc((size_t)size);
    rewind(file);
    if (!at || fread(at, 1, (size_t)size, file) != (size_t)size || size < 8 || memcmp(at, "TWB1", 4) != 0)
        die(path);
    fclose(file);
    memcpy(&num_conversations, at + 4, 4);
    conversations = calloc(num_conversations, sizeof *conversations);
    if (!conversations)
        die("calloc");
    at += 8;
    for (uint32_t i = 0; i < num_conversations; i++) {
        struct conversation *c = &conversations[i];
        memcpy(c, at, 16);
        c->ends = (const uint32_t *)(at + 16);
        c->text = at + 16 + 4 * c->num_turns;
        c->tail = c->text + c->text_size;
        at = c->text + ((c->text_size + c->tail_size + 3) & ~3u);
    }
}

/* The next conversation that nobody is in, under a new nonce. */
static struct conversation *take_conversation(void)
{
    struct conversation *c;
    do
        c = &conversations[next_conversation++ % num_conversations];
    while (c->is_taken);
    c->is_taken = 1;
    if (c->nonce_at) {
        char digits[NONCE_DIGITS + 1];
        snprintf(digits, sizeof digits, "%016llx", (unsigned long long)nonce++);
        memcpy(c->text + c->nonce_at, digits, NONCE_DIGITS);
    }
    return c;
}

#endif
