/* arena.h: memory that is freed all at once, by message or by batch.
 *
 * An arena grows in chunks up to the limit given at birth; what it hands out is zeroed, aligned for
 * any type, and lives until arena_reset or arena_release. Not thread-safe: one arena, one thread at
 * a time. */
#ifndef SUBPAY_BASE_ARENA_H
#define SUBPAY_BASE_ARENA_H

#include <stddef.h>

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t used, limit;         /* bytes */
};

void arena_init(struct arena *a, size_t limit);
void arena_reset(struct arena *a);   /* keeps one chunk for the next batch */
void arena_release(struct arena *a); /* frees everything; may be initialised again */

/* NULL at the limit or when memory is out; count 0 gives a pointer too. */
void *arena_alloc(struct arena *a, size_t count, size_t size);
char *arena_text(struct arena *a, const char *text, size_t len); /* a copy with a NUL behind it */

#define arena_new(a, type) ((type *)arena_alloc((a), 1, sizeof(type)))
#define arena_array(a, type, count) ((type *)arena_alloc((a), (count), sizeof(type)))

#endif
