/* The search: breadth first over all steps of all states, each state once.
 *
 * States are kept whole, in order of discovery, which is also the order in which they are expanded; a table over
 * their hashes finds those that are known. Each remembers from which state and by which step it was found first,
 * which gives the shortest story. Each also remembers how a calm world would go on from it (the first step that
 * changes anything, nothing failing): at the end every state's calm way must lead to an end, and each end must be
 * one that the rules allow. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "sim/prove_inside.h"

#define CHUNK_BITS 16
#define CHUNK (1u << CHUNK_BITS)
#define CHUNKS_MAX 1200 /* 78 million states, about 6 GiB */
#define TABLE_BITS_MIN 16
#define NOBODY UINT32_MAX

struct found {
    struct proof_state state;
    uint32_t parent;
    uint32_t calm; /* where a calm world goes; itself: it is at rest; NOBODY: not looked at */
    struct proof_step step;
};
struct slot {
    uint32_t index; /* + 1; 0: free */
    uint32_t hash;  /* its upper half, spares most looks at the state */
};
struct search {
    struct proof proof;
    struct found *chunks[CHUNKS_MAX];
    uint32_t count;
    struct slot *table;
    uint64_t mask;
    bool no_memory;
    struct proof_result *result;
};

static struct found *found_at(struct search *s, uint32_t index)
{
    return &s->chunks[index >> CHUNK_BITS][index & (CHUNK - 1)];
}

static uint64_t state_hash(const struct proof_state *state)
{
    uint64_t words[(sizeof *state + 7) / 8] = {0}, h = 0x9E3779B97F4A7C15u;
    memcpy(words, state, sizeof *state);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        h = (h ^ words[i]) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    return h * 0xD6E8FEB86659FD93u;
}

static bool table_grow(struct search *s)
{
    uint64_t size = s->mask ? (s->mask + 1) * 2 : 1u << TABLE_BITS_MIN;
    struct slot *table = calloc(size, sizeof *table);
    if (table == NULL)
        return false;
    free(s->table);
    s->table = table;
    s->mask = size - 1;
    for (uint32_t i = 0; i < s->count; i++) {
        uint64_t h = state_hash(&found_at(s, i)->state), at = h & s->mask;
        while (table[at].index != 0)
            at = (at + 1) & s->mask;
        table[at] = (struct slot){i + 1, (uint32_t)(h >> 32)};
    }
    return true;
}

static struct found *found_add(struct search *s)
{
    uint32_t chunk = s->count >> CHUNK_BITS;
    if (chunk >= CHUNKS_MAX)
        return NULL;
    if (s->chunks[chunk] == NULL)
        s->chunks[chunk] = malloc(CHUNK * sizeof *s->chunks[chunk]);
    return s->chunks[chunk] ? found_at(s, s->count++) : NULL;
}

/* The index of the state; new ones are added. NOBODY: out of memory. */
static uint32_t state_find(struct search *s, const struct proof_state *state, uint32_t parent,
                           const struct proof_step *step)
{
    if (s->mask == 0 || s->count > s->mask / 5 * 3)
        if (!table_grow(s))
            return NOBODY;
    uint64_t h = state_hash(state), at = h & s->mask;
    for (; s->table[at].index != 0; at = (at + 1) & s->mask) {
        uint32_t index = s->table[at].index - 1;
        if (s->table[at].hash == (uint32_t)(h >> 32) &&
            memcmp(&found_at(s, index)->state, state, sizeof *state) == 0)
            return index;
    }
    struct found *f = found_add(s);
    if (f == NULL)
        return NOBODY;
    *f = (struct found){.state = *state, .parent = parent, .calm = NOBODY, .step = *step};
    s->table[at] = (struct slot){s->count, (uint32_t)(h >> 32)};
    return s->count - 1;
}

/* ---- the story ---- */

static unsigned depth_of(struct search *s, uint32_t index)
{
    unsigned depth = 0;
    for (; index != 0; index = found_at(s, index)->parent)
        depth++;
    return depth;
}

static void story_keep(struct search *s, uint32_t index, const struct proof_step *last)
{
    struct proof_result *r = s->result;
    unsigned depth = depth_of(s, index);
    r->story = calloc(depth + 1, sizeof *r->story);
    if (r->story == NULL)
        return;
    r->story_len = depth;
    for (unsigned i = depth; i > 0; i--, index = found_at(s, index)->parent)
        r->story[i - 1] = found_at(s, index)->step;
    if (last)
        r->story[r->story_len++] = *last;
}

static bool broken(struct search *s, uint32_t index, const struct proof_step *last, const char *why)
{
    s->result->broken = why;
    story_keep(s, index, last);
    return false;
}

/* ---- steps ---- */

/* What is bound to happen when nothing fails, with one outcome for many. */
static bool step_calm(const struct proof_step *step)
{
    return step->kind < STEP_CALM_COUNT && !step->backup &&
           (step->variant == 0 || (step->kind == STEP_ARRIVES && step->variant == ARRIVES_LATE));
}

/* False: broken, or out of memory. */
static bool try_step(struct search *s, uint32_t index, const struct proof_step *step)
{
    struct found *f = found_at(s, index);
    struct proof *p = &s->proof;
    p->s = f->state;
    if (!proof_step(p, step))
        return true;
    s->result->steps++;
    if (p->broken != NULL)
        return broken(s, index, step, p->broken);
    if (memcmp(&p->s, &f->state, sizeof p->s) == 0)
        return true;
    uint32_t to = state_find(s, &p->s, index, step);
    if (to == NOBODY) {
        s->no_memory = true;
        return false;
    }
    if (f->calm == NOBODY && step_calm(step))
        f->calm = to;
    return true;
}

static bool expand_kind(struct search *s, uint32_t index, enum proof_kind kind)
{
    const struct proof_state state = found_at(s, index)->state;
    unsigned who_count = proof_of_a_key(kind) ? state.count : 1, variants = proof_variants(kind);
    s->proof.s = state;
    bool backs_up = proof_backs_up(&s->proof, kind);
    for (unsigned who = 0; who < who_count; who++)
        for (unsigned variant = 0; variant < variants; variant++) {
            struct proof_step step = {(uint8_t)kind, (uint8_t)who, (uint8_t)variant, 0};
            if (!try_step(s, index, &step))
                return false;
            step.backup = 1;
            if (backs_up && !try_step(s, index, &step))
                return false;
        }
    return true;
}

static bool expand(struct search *s, uint32_t index)
{
    for (int kind = 0; kind < STEP_KINDS; kind++)
        if (!expand_kind(s, index, (enum proof_kind)kind))
            return false;
    struct found *f = found_at(s, index);
    if (f->calm != NOBODY)
        return true;
    f->calm = index;
    s->proof.s = f->state;
    s->proof.broken = NULL;
    proof_check_leaf(&s->proof);
    return s->proof.broken == NULL || broken(s, index, NULL, s->proof.broken);
}

/* Every calm way ends. A way that was followed to its end is marked by calm = the end. */
static bool calm_check(struct search *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t end = i, steps = 0;
        while (found_at(s, end)->calm != end && steps++ < s->count)
            end = found_at(s, end)->calm;
        if (found_at(s, end)->calm != end)
            return broken(s, i, NULL, "I9: nothing fails any more, and it never comes to an end");
        for (uint32_t at = i, next; at != end; at = next) {
            next = found_at(s, at)->calm;
            found_at(s, at)->calm = end;
        }
    }
    return true;
}

static double seconds_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void proof_search(const struct proof_world *world, const struct proof_bound *bound,
                  struct proof_result *out)
{
    struct search *s = calloc(1, sizeof *s);
    double start = seconds_now();
    *out = (struct proof_result){0};
    if (s == NULL)
        return;
    s->result = out;
    s->proof.world = world;
    s->proof.bound = bound;
    proof_start(&s->proof);
    const struct proof_step none = {0};
    bool good = state_find(s, &s->proof.s, 0, &none) != NOBODY;
    for (uint32_t i = 0; good && i < s->count; i++)
        good = expand(s, i);
    if (good) {
        out->depth = depth_of(s, s->count - 1);
        good = calm_check(s);
    } else {
        out->depth = out->story_len;
    }
    out->proved = good;
    out->states = s->count;
    out->seconds = seconds_now() - start;
    for (unsigned i = 0; i < CHUNKS_MAX; i++)
        free(s->chunks[i]);
    free(s->table);
    free(s);
}
