#include "audit/audit.h"
#include "base/json.h"

static bool invariant_ok(const struct audit_invariant *inv)
{
    return inv->checked_at_all && inv->broken == 0;
}

static void texts_print(struct str *out, const char (*texts)[AUDIT_EXAMPLE_TEXT], int count,
                        int64_t rows, const char *indent)
{
    for (int i = 0; i < count; i++)
        str_addf(out, "%s%s\n", indent, texts[i]);
    if (rows > count)
        str_addf(out, "%sand %lld more\n", indent, (long long)(rows - count));
}

static void listed_print(struct str *out, const struct audit_invariant *inv)
{
    if (inv->listed == 0)
        return;
    str_addf(out, "   listed, not judged: %lld\n", (long long)inv->listed);
    texts_print(out, inv->listings, inv->listing_count, inv->listed, "      ");
}

void audit_print(const struct audit_report *r, struct str *out)
{
    for (int i = 0; i < r->count; i++) {
        const struct audit_invariant *inv = &r->invariants[i];
        if (invariant_ok(inv)) {
            str_addf(out, "%s ok %lld checked\n", inv->id, (long long)inv->checked);
            listed_print(out, inv);
            continue;
        }
        if (inv->broken > 0)
            str_addf(out, "%s broken %lld checked, %lld broken: %s\n", inv->id,
                     (long long)inv->checked, (long long)inv->broken, inv->title);
        texts_print(out, inv->examples, inv->example_count, inv->broken, "   ");
        listed_print(out, inv);
        if (!inv->checked_at_all)
            str_addf(out, "%s not checked (%lld checked): %s\n", inv->id, (long long)inv->checked,
                     inv->why);
    }
}

static void texts_json(struct str *out, const char *name, const char (*texts)[AUDIT_EXAMPLE_TEXT],
                       int count)
{
    json_name(out, name);
    json_open(out, '[');
    for (int i = 0; i < count; i++)
        json_add_text(out, texts[i]);
    json_close(out, ']');
}

static void invariant_json(const struct audit_invariant *inv, struct str *out)
{
    json_open(out, '{');
    json_put_text(out, "id", inv->id);
    json_put_bool(out, "ok", invariant_ok(inv));
    json_put_i64(out, "checked", inv->checked);
    json_put_i64(out, "broken", inv->broken);
    texts_json(out, "examples", inv->examples, inv->example_count);
    if (inv->listed > 0) {
        json_put_i64(out, "listed", inv->listed);
        texts_json(out, "listings", inv->listings, inv->listing_count);
    }
    if (!inv->checked_at_all)
        json_put_text(out, "not_checked", inv->why);
    json_close(out, '}');
}

void audit_print_json(const struct audit_report *r, struct str *out)
{
    json_open(out, '{');
    json_put_bool(out, "ok", audit_exit_code(r) == 0);
    json_name(out, "invariants");
    json_open(out, '[');
    for (int i = 0; i < r->count; i++)
        invariant_json(&r->invariants[i], out);
    json_close(out, ']');
    json_close(out, '}');
    str_add(out, "\n");
}

int audit_exit_code(const struct audit_report *r)
{
    bool all_checked = true;
    for (int i = 0; i < r->count; i++) {
        if (r->invariants[i].broken > 0)
            return 1;
        all_checked &= r->invariants[i].checked_at_all;
    }
    return all_checked ? 0 : 3;
}
