/* Mail for development: one .eml file a payment. A repeat replaces the file by the same text. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/folder.h"
#include "base/str.h"
#include "mailer/mailer.h"

#define FILE_NAME_MAX 64

struct directory {
    struct mailer mailer;
    int fd; /* of the folder */
    char from[MAIL_ADDRESS_MAX + 1];
    struct mail_result results[MAIL_BATCH_MAX]; /* ring: sent, not taken yet */
    size_t head, count;
    size_t unsynced; /* the newest of them, which are not durable and have no names yet */
    void (*wake)(void *ctx);
    void *wake_ctx;
};

static struct directory *directory_of(struct mailer *m)
{
    return (struct directory *)(void *)m; /* its first member */
}

static bool bytes_write(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, bytes, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        len -= (size_t)written;
    }
    return true;
}

static void names_of(const struct uuid *payment_id, char shown[FILE_NAME_MAX],
                     char beside[FILE_NAME_MAX])
{
    char id[UUID_TEXT];
    uuid_format(payment_id, id);
    (void)snprintf(shown, FILE_NAME_MAX, "%s.eml", id);
    (void)snprintf(beside, FILE_NAME_MAX, ".%s.tmp", id);
}

/* It did not work, by errno: nothing is left of it but a later try. */
static void result_failed(struct directory *d, struct mail_result *result)
{
    char shown[FILE_NAME_MAX], beside[FILE_NAME_MAX];
    result->outcome = MAIL_TRY_AGAIN;
    (void)snprintf(result->note, sizeof result->note, "%s", strerrordesc_np(errno));
    names_of(&result->payment_id, shown, beside);
    (void)unlinkat(d->fd, beside, 0);
}

/* The whole message under a name of its own. */
static bool file_write(const struct directory *d, const struct uuid *payment_id,
                       const struct str *text)
{
    char shown[FILE_NAME_MAX], beside[FILE_NAME_MAX];
    names_of(payment_id, shown, beside);
    int fd = openat(d->fd, beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    bool good = bytes_write(fd, text->data, text->len);
    int failed = errno;
    if (close(fd) != 0 && good)
        return false;
    CRASH_POINT("mail.write.after");
    errno = failed;
    return good;
}

/* And, once that is durable, under the name that readers look for. */
static bool file_show(const struct directory *d, const struct uuid *payment_id)
{
    char shown[FILE_NAME_MAX], beside[FILE_NAME_MAX];
    names_of(payment_id, shown, beside);
    return renameat(d->fd, beside, d->fd, shown) == 0;
}

static struct mail_result *result_at(struct directory *d, size_t index)
{
    return &d->results[(d->head + index) % MAIL_BATCH_MAX];
}

static enum err directory_send(struct mailer *m, const struct mail *mail)
{
    struct directory *d = directory_of(m);
    struct str text;
    if (d->count == MAIL_BATCH_MAX)
        return ERR_BUSY;
    str_init(&text, MAIL_MESSAGE_MAX);
    enum err err = mail_format(mail, d->from, &text);
    if (err == ERR_OK) {
        struct mail_result *result = result_at(d, d->count);
        *result = (struct mail_result){.payment_id = mail->payment_id, .outcome = MAIL_HANDED_OVER};
        if (!file_write(d, &mail->payment_id, &text))
            result_failed(d, result);
        d->unsynced++;
        if (d->count++ == 0 && d->wake)
            d->wake(d->wake_ctx);
    }
    str_release(&text);
    return err;
}

/* What came since the last time becomes durable: the bytes, then the names. All at once, because each file by itself
 * would cost a commit of the file system (syncfs tells of failed writes since Linux 5.8). */
static void directory_sync(struct directory *d)
{
    if (d->unsynced == 0)
        return;
    bool written = syncfs(d->fd) == 0;
    for (size_t i = d->count - d->unsynced; i < d->count; i++) {
        struct mail_result *result = result_at(d, i);
        if (result->outcome == MAIL_HANDED_OVER && !(written && file_show(d, &result->payment_id)))
            result_failed(d, result);
    }
    CRASH_POINT("mail.rename.after");
    bool named = fsync(d->fd) == 0;
    CRASH_POINT("mail.sync.after");
    for (size_t i = d->count - d->unsynced; !named && i < d->count; i++)
        if (result_at(d, i)->outcome == MAIL_HANDED_OVER)
            result_failed(d, result_at(d, i));
    d->unsynced = 0;
}

static size_t directory_take(struct mailer *m, struct mail_result *out, size_t max)
{
    struct directory *d = directory_of(m);
    size_t count = d->count < max ? d->count : max;
    if (count > 0)
        directory_sync(d);
    for (size_t i = 0; i < count; i++)
        out[i] = *result_at(d, i);
    d->head = (d->head + count) % MAIL_BATCH_MAX;
    d->count -= count;
    return count;
}

static void directory_watch(struct mailer *m, void (*wake)(void *), void *ctx)
{
    struct directory *d = directory_of(m);
    d->wake = wake;
    d->wake_ctx = ctx;
}

static void directory_close(struct mailer *m)
{
    struct directory *d = directory_of(m);
    close(d->fd);
    free(d);
}

static const struct mailer_ops DIRECTORY_OPS = {
    .send = directory_send,
    .take = directory_take,
    .watch = directory_watch,
    .close = directory_close,
};

enum err directory_mailer_open(struct mailer **out, const char *directory, const char *from)
{
    if (!from || !*from)
        from = MAIL_FROM_DEFAULT;
    if (!mail_address_valid(from))
        return ERR_INVALID;
    struct directory *d = calloc(1, sizeof *d);
    if (!d)
        return ERR_NO_MEMORY;
    d->mailer.ops = &DIRECTORY_OPS;
    (void)text_copy(d->from, sizeof d->from, from);
    d->fd = folder_make(directory) ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (d->fd < 0) {
        free(d);
        return ERR_IO;
    }
    *out = &d->mailer;
    return ERR_OK;
}
