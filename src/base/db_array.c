#include "base/db_array.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/times.h"

void db_array_init(struct db_array *a, size_t limit)
{
    str_init(&a->text, limit);
    db_array_clear(a);
}

void db_array_release(struct db_array *a)
{
    str_release(&a->text);
}

void db_array_clear(struct db_array *a)
{
    str_clear(&a->text);
    str_add(&a->text, "{");
    a->count = 0;
}

/* The comma before an element. The closing brace is added when it is bound. */
static struct str *element(struct db_array *a)
{
    if (a->count++ > 0)
        str_add(&a->text, ",");
    return &a->text;
}

void db_array_null(struct db_array *a)
{
    str_add(element(a), "NULL");
}

void db_array_i64(struct db_array *a, int64_t value)
{
    str_addf(element(a), "%" PRId64, value);
}

void db_array_text_n(struct db_array *a, const char *text, size_t len)
{
    struct str *s;

    if (!text) {
        db_array_null(a);
        return;
    }
    s = element(a);
    str_add(s, "\"");
    for (const char *end = text + len; text < end;) {
        size_t plain = 0;

        while (text + plain < end && text[plain] != '"' && text[plain] != '\\')
            plain++;
        str_add_bytes(s, text, plain);
        text += plain;
        if (text < end) {
            str_add(s, "\\");
            str_add_bytes(s, text++, 1);
        }
    }
    str_add(s, "\"");
}

void db_array_text(struct db_array *a, const char *text)
{
    db_array_text_n(a, text, text ? strlen(text) : 0);
}

void db_array_blob(struct db_array *a, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    struct str *s;

    if (!bytes) {
        db_array_null(a);
        return;
    }
    s = element(a);
    str_add(s, "\"\\\\x");
    for (size_t i = 0; i < len; i++)
        str_add_bytes(s, (char[]){"0123456789abcdef"[at[i] >> 4], "0123456789abcdef"[at[i] & 15]},
                      2);
    str_add(s, "\"");
}

void db_array_uuid(struct db_array *a, const struct uuid *id)
{
    char text[UUID_TEXT];

    if (id)
        uuid_format(id, text);
    str_add(element(a), id ? text : "NULL");
}

void db_array_time(struct db_array *a, int64_t at_us)
{
    char text[TIME_TEXT];

    if (at_us != TIME_NEVER)
        time_format(at_us, text);
    str_add(element(a), at_us != TIME_NEVER ? text : "NULL");
}

void query_bind_array(struct query *q, const struct db_array *a)
{
    struct str whole;

    str_init(&whole, a->text.limit + 1);
    str_add_bytes(&whole, a->text.data, a->text.len);
    str_add(&whole, "}");
    if (q->err == ERR_OK && (a->text.failed || whole.failed))
        q->err = ERR_NO_MEMORY;
    query_bind_text_n(q, whole.data, whole.len);
    str_release(&whole);
}
