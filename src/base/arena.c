#include "base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN 4096
#define CHUNK_MAX (256 * 1024) /* a bigger request gets a chunk of its own size */
#define ALIGNMENT alignof(max_align_t)

struct arena_chunk {
    struct arena_chunk *next; /* older */
    size_t cap, used;         /* bytes of data */
    alignas(max_align_t) unsigned char data[];
};

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){.limit = limit};
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *kept = NULL;
    struct arena_chunk *next;

    for (struct arena_chunk *c = a->chunks; c; c = next) {
        next = c->next;
        if (c->cap <= CHUNK_MAX && (!kept || c->cap > kept->cap)) {
            free(kept);
            kept = c;
        } else {
            free(c);
        }
    }
    if (kept) {
        kept->next = NULL;
        kept->used = 0;
    }
    a->chunks = kept;
    a->used = 0;
}

void arena_release(struct arena *a)
{
    struct arena_chunk *next;

    for (struct arena_chunk *c = a->chunks; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (struct arena){.limit = a->limit};
}

/* Chunks double, so that their number stays small and the rest of the last one is at most half. */
static struct arena_chunk *chunk_add(struct arena *a, size_t need)
{
    size_t cap = a->chunks ? a->chunks->cap * 2 : CHUNK_MIN;
    struct arena_chunk *c;

    if (cap > CHUNK_MAX)
        cap = CHUNK_MAX;
    if (cap < need)
        cap = need;
    c = malloc(sizeof(*c) + cap);
    if (!c)
        return NULL;
    c->next = a->chunks;
    c->cap = cap;
    c->used = 0;
    a->chunks = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t count, size_t size)
{
    struct arena_chunk *c = a->chunks;
    size_t need;
    void *data;

    if (__builtin_mul_overflow(count, size, &need) || need > a->limit)
        return NULL;
    if (need == 0)
        need = 1; /* NULL means failure only */
    if (__builtin_add_overflow(need, ALIGNMENT - 1, &need))
        return NULL;
    need &= ~(ALIGNMENT - 1);
    assert(a->used <= a->limit);
    if (need > a->limit - a->used)
        return NULL;
    if (!c || need > c->cap - c->used) {
        c = chunk_add(a, need);
        if (!c)
            return NULL;
    }
    data = c->data + c->used;
    c->used += need;
    a->used += need;
    return memset(data, 0, need);
}

char *arena_text(struct arena *a, const char *text, size_t len)
{
    char *copy;

    if (len == SIZE_MAX)
        return NULL;
    copy = arena_alloc(a, len + 1, 1);
    if (copy && len)
        memcpy(copy, text, len);
    return copy;
}
