#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/folder.h"
#include "ledger/migrations_inside.h"

#define SLUG_MAX 40
#define MESSAGE_MAX 200 /* bytes */

/* ---- reading ---- */

static enum err read_all(int fd, char *data, size_t len)
{
    size_t have = 0;
    while (have < len) {
        ssize_t n = read(fd, data + have, len - have);
        if (n > 0)
            have += (size_t)n;
        else if (n == 0)
            return ERR_INVALID; /* it became shorter */
        else if (errno != EINTR)
            return ERR_IO;
    }
    return memchr(data, '\0', len) ? ERR_INVALID : ERR_OK;
}

static enum err read_open(struct migrations *m, int fd, const char *name, char *why, size_t why_cap)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return migrations_fail(ERR_IO, why, why_cap, name, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size > MIGRATION_FILE_MAX)
        return migrations_fail(ERR_INVALID, why, why_cap, name,
                               "allowed is a file of 1 MiB at most");
    char *data = arena_alloc(&m->texts, (size_t)st.st_size + 1, 1);
    if (!data)
        return migrations_fail(ERR_INVALID, why, why_cap, name, "allowed are 8 MiB in all files");
    enum err err = read_all(fd, data, (size_t)st.st_size);
    if (err != ERR_OK)
        return migrations_fail(err, why, why_cap, name,
                               err == ERR_IO ? strerror(errno) : "there is a NUL in it");
    return migrations_take(m, name, data, why, why_cap);
}

static enum err read_file(struct migrations *m, int folder, const char *name, char *why,
                          size_t why_cap)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* whatever a FIFO would do */
    if (fd < 0)
        return migrations_fail(ERR_IO, why, why_cap, name, strerror(errno));
    enum err err = read_open(m, fd, name, why, why_cap);
    close(fd);
    return err;
}

enum err migrations_read_folder(struct migrations *m, const char *folder, char *why, size_t why_cap)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    enum err err = ERR_OK;
    if (!dir)
        return migrations_fail(errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO, why,
                               why_cap, "", strerror(errno));
    while (err == ERR_OK && (entry = readdir(dir))) {
        const char *end = strrchr(entry->d_name, '.');
        if (end && end != entry->d_name && strcmp(end, ".sql") == 0)
            err = read_file(m, dirfd(dir), entry->d_name, why, why_cap);
    }
    closedir(dir);
    return err;
}

/* ---- writing ---- */

/* "Add the refunds' reason" → "add_the_refunds_reason". */
static void slug_of(const char *message, char out[SLUG_MAX + 1])
{
    size_t len = 0;
    for (; *message && len < SLUG_MAX; message++) {
        unsigned char c = (unsigned char)*message;
        if (c < 0x80 && isalnum(c))
            out[len++] = (char)tolower(c);
        else if (c != '\'' && len > 0 && out[len - 1] != '_')
            out[len++] = '_';
    }
    while (len > 0 && out[len - 1] == '_')
        len--;
    out[len] = '\0';
    if (len == 0)
        (void)text_copy(out, SLUG_MAX + 1, "revision");
}

static enum err write_file(const char *path, const char *text, size_t len, char *why,
                           size_t why_cap)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return migrations_fail(errno == EEXIST ? ERR_CONFLICT : ERR_IO, why, why_cap, path,
                               strerror(errno));
    ssize_t n = 0;
    while (len > 0 && (n = write(fd, text, len)) > 0) {
        text += n;
        len -= (size_t)n;
    }
    int error = len > 0 || fsync(fd) != 0 ? errno : 0;
    close(fd);
    if (error == 0)
        return ERR_OK;
    (void)unlink(path);
    return migrations_fail(error == ENOSPC ? ERR_NO_SPACE : ERR_IO, why, why_cap, path,
                           strerror(error));
}

/* The message as a comment, and the statements. */
static enum err write_one(const char *path, int number, const char *message, const char *sql,
                          char *why, size_t why_cap)
{
    struct str text;
    str_init(&text, MIGRATION_FILE_MAX);
    str_addf(&text, "-- %04d: ", number); /* so it is never a mark such as `-- changed:` */
    for (const char *p = message; *p; p++)
        str_add_bytes(&text, (unsigned char)*p < 0x20 ? " " : p, 1);
    str_addf(&text, "\n%s", sql ? sql : "");
    enum err err = text.failed
                       ? migrations_fail(ERR_INVALID, why, why_cap, path, "allowed are 1 MiB")
                       : write_file(path, text.data, text.len, why, why_cap);
    str_release(&text);
    return err;
}

enum err migrations_write(const struct migrations *m, const char *folder, const char *message,
                          const char *up, const char *down, char paths[2][MIGRATION_PATH_MAX],
                          char *why, size_t why_cap)
{
    static const char *const SUFFIXES[] = {UP_SUFFIX, DOWN_SUFFIX};
    char slug[SLUG_MAX + 1];
    if (!*message || strlen(message) > MESSAGE_MAX || !text_is_utf8(message, strlen(message)))
        return migrations_fail(ERR_INVALID, why, why_cap, "-m",
                               "allowed is a text of 1 to 200 bytes of UTF-8");
    if (m->count == MIGRATIONS_MAX)
        return migrations_fail(ERR_INVALID, why, why_cap, folder, "allowed are 999 migrations");
    slug_of(message, slug);
    for (int i = 0; i < 2; i++) {
        int len = snprintf(paths[i], MIGRATION_PATH_MAX, "%s/%04d_%s%s", folder, m->count + 1, slug,
                           SUFFIXES[i]);
        if (len < 0 || len >= MIGRATION_PATH_MAX)
            return migrations_fail(ERR_INVALID, why, why_cap, folder, "the path is too long");
    }
    enum err err = write_one(paths[0], m->count + 1, message, up, why, why_cap);
    if (err != ERR_OK)
        return err;
    err = write_one(paths[1], m->count + 1, message, down, why, why_cap);
    if (err != ERR_OK)
        (void)unlink(paths[0]);
    else if (!folder_sync(folder))
        err = migrations_fail(ERR_IO, why, why_cap, folder, strerror(errno));
    return err;
}
