/* mailer.h: telling the user: hand a message over now, hear later whether it was taken.
 *
 * At least once: a message has one Message-ID per payment, so that a repeat is seen as one.
 * Owner: opened once per notifier. Threads: one handle, one thread. Drivers: directory.c (.eml files). */
#ifndef SUBPAY_MAILER_MAILER_H
#define SUBPAY_MAILER_MAILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"

#define MAIL_ADDRESS_MAX 254
#define MAIL_SUBJECT_MAX 200   /* bytes */
#define MAIL_BODY_MAX 8192     /* bytes */
#define MAIL_MESSAGE_MAX 65536 /* bytes of a formatted message: no body grows beyond it */
#define MAIL_FROM_DEFAULT "subpay@subpay.invalid"
#define MAIL_BATCH_MAX 256 /* messages handed over and not yet taken back */

struct mailer {
    const struct mailer_ops *ops;
};
struct mail {
    struct uuid payment_id;
    const char *to;      /* an address; CR, LF, NUL and non-ASCII refused: ERR_INVALID */
    const char *subject; /* UTF-8, one line */
    const char *text;    /* UTF-8, lines end with \n */
    int64_t date_us;
};
enum mail_outcome { MAIL_HANDED_OVER, MAIL_UNREACHABLE, MAIL_TRY_AGAIN };
struct mail_result {
    struct uuid payment_id;
    enum mail_outcome outcome;
    char note[128];
};
/* ERR_BUSY: MAIL_BATCH_MAX are not taken back yet; ERR_INVALID: it can never be sent as it is. */
enum err mailer_send(struct mailer *m, const struct mail *mail) MUST_CHECK;
/* Results of what was sent; durable when it says so. */
size_t mailer_take(struct mailer *m, struct mail_result *out, size_t max);
void mailer_watch(struct mailer *m, void (*wake)(void *ctx), void *ctx);
void mailer_close(struct mailer *m); /* NULL is fine */

/* An address that may stand in a header and in an SMTP command: dot-atom@domain, ASCII (RFC 5321). */
bool mail_address_valid(const char *address);
/* RFC 5322 text of a message; ERR_INVALID when a header would not be one line. `from` is an address; the
 * domain behind its @ is that of the Message-ID. */
struct str;
enum err mail_format(const struct mail *mail, const char *from, struct str *out) MUST_CHECK;

struct mailer_ops {
    enum err (*send)(struct mailer *, const struct mail *);
    size_t (*take)(struct mailer *, struct mail_result *, size_t);
    void (*watch)(struct mailer *, void (*)(void *), void *);
    void (*close)(struct mailer *);
};

/* directory.c: DATA_DIR/mail/<payment_id>.eml, written beside and renamed, file and folder synced. Makes the
 * folder (0700). from: "" or NULL is MAIL_FROM_DEFAULT; ERR_INVALID when it is no address. */
enum err directory_mailer_open(struct mailer **out, const char *directory,
                               const char *from) MUST_CHECK;

#endif
