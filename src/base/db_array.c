#include "base/db_array.h"

#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/db_private.h"
#include "base/times.h"

#define JSONB_VERSION 1
#define SERVER_EPOCH_US INT64_C(946684800000000) /* 2000-01-01 */

void db_array_init(struct db_array *a, size_t limit)
{
    *a = (struct db_array){0};
    str_init(&a->bytes, limit);
}

void db_array_release(struct db_array *a)
{
    str_release(&a->bytes);
}

void db_array_clear(struct db_array *a)
{
    str_clear(&a->bytes);
    a->count = 0;
    a->type = 0;
}

void db_array_null(struct db_array *a)
{
    uint32_t none = UINT32_MAX;

    str_add_bytes(&a->bytes, &none, sizeof(none));
    a->count++;
}

/* What an element begins with: its length. The bytes follow. */
static void element(struct db_array *a, uint32_t type, size_t len)
{
    uint32_t wire_len = htobe32((uint32_t)len);

    assert(a->type == 0 || a->type == type);
    a->type = type;
    a->bytes.failed |= len > INT32_MAX;
    str_add_bytes(&a->bytes, &wire_len, sizeof(wire_len));
    a->count++;
}

static void element_bytes(struct db_array *a, uint32_t type, const void *bytes, size_t len)
{
    if (!bytes) {
        db_array_null(a);
        return;
    }
    element(a, type, len);
    str_add_bytes(&a->bytes, bytes, len);
}

void db_array_i64(struct db_array *a, int64_t value)
{
    uint64_t wire = htobe64((uint64_t)value);

    element_bytes(a, TYPE_BIGINT, &wire, sizeof(wire));
}

void db_array_text_n(struct db_array *a, const char *text, size_t len)
{
    element_bytes(a, TYPE_TEXT, text, len);
}

void db_array_text(struct db_array *a, const char *text)
{
    db_array_text_n(a, text, text ? strlen(text) : 0);
}

void db_array_json(struct db_array *a, const char *text)
{
    size_t len = text ? strlen(text) : 0;

    if (!text) {
        db_array_null(a);
        return;
    }
    element(a, TYPE_JSONB, len + 1);
    str_add_bytes(&a->bytes, (const char[]){JSONB_VERSION}, 1);
    str_add_bytes(&a->bytes, text, len);
}

void db_array_blob(struct db_array *a, const void *bytes, size_t len)
{
    element_bytes(a, TYPE_BYTEA, bytes, len);
}

void db_array_uuid(struct db_array *a, const struct uuid *id)
{
    element_bytes(a, TYPE_UUID, id ? id->bytes : NULL, sizeof(id->bytes));
}

void db_array_uuid_text(struct db_array *a, const char *id)
{
    struct uuid parsed;
    bool good = id && uuid_parse(id, strlen(id), &parsed);

    assert(good || !id);
    db_array_uuid(a, good ? &parsed : NULL);
}

void db_array_time(struct db_array *a, int64_t at_us)
{
    uint64_t wire = htobe64((uint64_t)(time_in_calendar(at_us) - SERVER_EPOCH_US));

    element_bytes(a, TYPE_TIMESTAMPTZ, at_us != TIME_NEVER ? &wire : NULL, sizeof(wire));
}

void db_array_place(struct db_array *a, const char *place)
{
    struct __attribute__((packed)) {
        uint32_t block;
        uint16_t row;
    } wire = {0};
    unsigned block = 0;
    unsigned short row = 0;
    bool good = place && sscanf(place, "(%u,%hu)", &block, &row) == 2;

    assert(good || !place);
    wire.block = htobe32(block);
    wire.row = htobe16(row);
    element_bytes(a, TYPE_TID, good ? &wire : NULL, sizeof(wire));
}

/* Nulls of no type can only be written as a text. */
static void bind_nulls(struct query *q, const struct db_array *a)
{
    struct str text;

    str_init(&text, a->bytes.limit * 2 + 2);
    str_add(&text, "{");
    for (size_t i = 0; i < a->count; i++)
        str_add(&text, i ? ",NULL" : "NULL");
    str_add(&text, "}");
    if (q->err == ERR_OK && text.failed)
        q->err = ERR_NO_MEMORY;
    query_bind_text_n(q, text.data, text.len);
    str_release(&text);
}

void query_bind_array(struct query *q, const struct db_array *a)
{
    const uint32_t dimensions = 1, nulls_possible = 1, first = 1;
    const uint32_t head[] = {
        htobe32(dimensions),         htobe32(nulls_possible), htobe32(a->type),
        htobe32((uint32_t)a->count), htobe32(first),
    };
    const struct span parts[] = {{(const char *)head, sizeof(head)}, {a->bytes.data, a->bytes.len}};

    if (q->err == ERR_OK && a->bytes.failed)
        q->err = ERR_NO_MEMORY;
    if (a->type == 0)
        bind_nulls(q, a);
    else
        query_bind_binary(q, parts, 2);
}
