#include "ledger/migrations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "ledger/migrations_inside.h"
#include "ledger/schema_text.h"

enum err migrations_fail(enum err err, char *why, size_t why_cap, const char *subject,
                         const char *text)
{
    snprintf(why, why_cap, "%s%s%s", subject, *subject ? ": " : "", text);
    return err;
}

/* ---- files and their names ---- */

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name), suffix_len = strlen(suffix);
    return len >= suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

/* NNNN_name of a file's name, and which of the two it is. */
static bool name_split(const char *file, char *name, size_t name_cap, int64_t *number, bool *up)
{
    *up = ends_with(file, UP_SUFFIX);
    if (!*up && !ends_with(file, DOWN_SUFFIX))
        return false;
    size_t len = strlen(file) - strlen(*up ? UP_SUFFIX : DOWN_SUFFIX);
    size_t letters = strspn(file, "abcdefghijklmnopqrstuvwxyz0123456789_");
    char digits[5];
    return letters == len && len > 5 && file[4] == '_' && text_copy_n(name, name_cap, file, len) &&
           text_copy_n(digits, sizeof digits, file, 4) && strspn(digits, "0123456789") == 4 &&
           text_i64(digits, 1, MIGRATIONS_MAX, number);
}

enum err migrations_take(struct migrations *m, const char *file, const char *text, char *why,
                         size_t why_cap)
{
    char name[MIGRATION_NAME_MAX + 1];
    int64_t number;
    bool up;
    if (strcmp(file, DECLARED_NAME) == 0) {
        m->declared = text;
        return ERR_OK;
    }
    if (!name_split(file, name, sizeof name, &number, &up))
        return migrations_fail(ERR_INVALID, why, why_cap, file,
                               "allowed are NNNN_name.up.sql and NNNN_name.down.sql, NNNN from "
                               "0001, name of a-z, 0-9 and _, 58 bytes at most");
    struct migration *to = &m->list[number - 1];
    if (to->number != 0 && strcmp(to->name, name) != 0)
        return migrations_fail(ERR_INVALID, why, why_cap, file, "another one has this number");
    to->number = (int)number;
    (void)text_copy(to->name, sizeof to->name, name);
    *(up ? &to->up : &to->down) = text;
    return ERR_OK;
}

/* ---- the list as a whole ---- */

static int compatible_from(const char *up, int number, int before)
{
    static const char KEY[] = "-- compatible_from: ";
    int64_t from;
    char digits[8] = "";
    for (const char *line = up; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, KEY, strlen(KEY)) != 0)
            continue;
        line += strlen(KEY);
        if (text_copy_n(digits, sizeof digits, line, strspn(line, "0123456789")) &&
            text_i64(digits, 1, number, &from))
            return (int)from;
        return number;
    }
    return schema_text_is_empty(up) && before > 0 ? before : number;
}

/* Numbers without gaps, both ways of each. */
static enum err list_complete(struct migrations *m, char *why, size_t why_cap)
{
    int before = 0;
    for (int i = MIGRATIONS_MAX; i > 0 && m->count == 0; i--)
        if (m->list[i - 1].number != 0)
            m->count = i;
    for (int i = 0; i < m->count; i++) {
        struct migration *one = &m->list[i];
        if (one->number == 0) {
            snprintf(why, why_cap, "there is no %04d_*%s, but later ones", i + 1, UP_SUFFIX);
            return ERR_INVALID;
        }
        if (!one->up || !one->down) {
            snprintf(why, why_cap, "%s%s is missing", one->name, one->up ? DOWN_SUFFIX : UP_SUFFIX);
            return ERR_INVALID;
        }
        one->compatible_from = before = compatible_from(one->up, i + 1, before);
    }
    return ERR_OK;
}

static enum err take_own(struct migrations *m, bool declared_only, char *why, size_t why_cap)
{
    const struct embedded_file *files =
        m->postgres ? POSTGRES_MIGRATION_FILES : SQLITE_MIGRATION_FILES;
    size_t count = m->postgres ? POSTGRES_MIGRATION_FILES_COUNT : SQLITE_MIGRATION_FILES_COUNT;
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        if (!declared_only || strcmp(files[i].name, DECLARED_NAME) == 0)
            err = migrations_take(m, files[i].name, files[i].data, why, why_cap);
    return err;
}

enum err migrations_open(struct migrations **out, bool postgres, const char *folder, char *why,
                         size_t why_cap)
{
    struct migrations *m = calloc(1, sizeof *m);
    if (!m)
        return migrations_fail(ERR_NO_MEMORY, why, why_cap, "", err_text(ERR_NO_MEMORY));
    m->postgres = postgres;
    arena_init(&m->texts, MIGRATIONS_TEXTS_MAX);
    enum err err = take_own(m, folder != NULL, why, why_cap);
    if (err == ERR_OK && folder)
        err = migrations_read_folder(m, folder, why, why_cap);
    if (err == ERR_OK)
        err = list_complete(m, why, why_cap);
    if (err != ERR_OK) {
        migrations_close(m);
        return err;
    }
    *out = m;
    return ERR_OK;
}

void migrations_close(struct migrations *m)
{
    if (!m)
        return;
    arena_release(&m->texts);
    free(m);
}

int migrations_head(const struct migrations *m)
{
    return m->count;
}

const struct migration *migrations_get(const struct migrations *m, int number)
{
    return number >= 1 && number <= m->count ? &m->list[number - 1] : NULL;
}

const char *migrations_declared(const struct migrations *m)
{
    return m->declared;
}
