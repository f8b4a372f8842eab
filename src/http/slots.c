#include "http/slots.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/inbox.h"

#define INDEX_BITS 16
#define INDEX_MASK ((UINT64_C(1) << INDEX_BITS) - 1)

static_assert(HTTP_SLOTS_MAX <= INDEX_MASK, "a token holds the index of its slot");

struct slots {
    struct inbox inbox; /* of struct completion *; one per slot at most */
    struct slot *slots, *spare;
    size_t used;
    atomic_size_t open;
};

enum err slots_open(struct slots **out, void (*wake)(void *ctx), void *ctx)
{
    struct slots *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NO_MEMORY;
    s->slots = calloc(HTTP_SLOTS_MAX, sizeof *s->slots);
    if (!s->slots || inbox_init(&s->inbox, sizeof(struct completion *), HTTP_SLOTS_MAX) != ERR_OK) {
        slots_close(s);
        return ERR_NO_MEMORY;
    }
    s->inbox.wake = wake;
    s->inbox.wake_ctx = ctx;
    *out = s;
    return ERR_OK;
}

void slots_close(struct slots *s)
{
    struct completion *late;
    if (!s)
        return;
    while (s->inbox.items && inbox_take(&s->inbox, &late, 1) > 0)
        free(late);
    inbox_release(&s->inbox);
    free(s->slots);
    free(s);
}

struct slot *slots_take(struct slots *s, struct evhttp_request *request, struct conn *conn)
{
    struct slot *slot = s->spare;
    if (slot)
        s->spare = slot->next_free;
    else if (s->used < HTTP_SLOTS_MAX)
        slot = &s->slots[s->used++];
    else
        return NULL;
    slot->request = request;
    slot->conn = conn;
    slot->origin = NULL;
    slot->head = slot->watched = false;
    slot->generation++;
    atomic_store(&slot->token, slot->generation << INDEX_BITS | (uint64_t)(slot - s->slots));
    atomic_fetch_add(&s->open, 1);
    return slot;
}

void slots_free(struct slots *s, struct slot *slot)
{
    assert(slot->request && slot_token(slot) == 0);
    slot->request = NULL;
    slot->conn = NULL;
    slot->next_free = s->spare;
    s->spare = slot;
    atomic_fetch_sub(&s->open, 1);
}

struct slot *slots_of(struct slots *s, uint64_t token)
{
    assert((token & INDEX_MASK) < HTTP_SLOTS_MAX);
    return &s->slots[token & INDEX_MASK];
}

size_t slots_used(const struct slots *s)
{
    return s->used;
}

struct slot *slots_at(struct slots *s, size_t index)
{
    return &s->slots[index];
}

uint64_t slot_token(const struct slot *slot)
{
    return atomic_load(&slot->token);
}

struct slot *slots_claim(struct slots *s, uint64_t token)
{
    if (token == 0 || (token & INDEX_MASK) >= HTTP_SLOTS_MAX)
        return NULL;
    struct slot *slot = &s->slots[token & INDEX_MASK];
    return atomic_compare_exchange_strong(&slot->token, &token, 0) ? slot : NULL;
}

bool slots_awaited(struct slots *s, uint64_t token)
{
    return token != 0 && (token & INDEX_MASK) < HTTP_SLOTS_MAX &&
           slot_token(slots_of(s, token)) == token;
}

/* Adds a text to the block and says where it is. */
static const char *text_put(char **at, const char *text, size_t len)
{
    char *copy = *at;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    *at += len + 1;
    return copy;
}

static struct completion *completion_make(const struct http_response *r)
{
    size_t count = 0, size = sizeof(struct completion) + 1;
    size += r->body_static ? 0 : r->body_len;
    size += r->content_type ? strlen(r->content_type) + 1 : 0;
    for (; count < HTTP_RESPONSE_HEADERS_MAX && r->headers[count].name; count++)
        size += strlen(r->headers[count].name) + strlen(r->headers[count].value) + 2;
    struct completion *c = malloc(size);
    if (!c)
        return NULL;
    char *at = (char *)(c + 1);
    *c = (struct completion){.response = *r};
    if (!r->body_static)
        c->response.body = text_put(&at, r->body, r->body_len);
    if (r->content_type)
        c->response.content_type = text_put(&at, r->content_type, strlen(r->content_type));
    for (size_t i = 0; i < count; i++) {
        const struct http_header *h = &r->headers[i];
        c->response.headers[i].name = text_put(&at, h->name, strlen(h->name));
        c->response.headers[i].value = text_put(&at, h->value, strlen(h->value));
    }
    return c;
}

bool slots_post(struct slots *s, uint64_t token, const struct http_response *response)
{
    if ((token & INDEX_MASK) >= HTTP_SLOTS_MAX || slot_token(slots_of(s, token)) != token)
        return false;
    struct completion *c = completion_make(response);
    struct slot *slot = c ? slots_claim(s, token) : NULL;
    if (!slot) {
        free(c);
        return false;
    }
    c->slot = slot;
    enum err err = inbox_push(&s->inbox, &c);
    assert(err == ERR_OK);
    return true;
}

size_t slots_posted(struct slots *s, struct completion **out, size_t max)
{
    return inbox_take(&s->inbox, out, max);
}

size_t slots_open_count(struct slots *s)
{
    return atomic_load(&s->open);
}
