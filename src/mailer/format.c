/* The text of a message: RFC 5322, RFC 2045 and, for a subject beyond ASCII, RFC 2047. */
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/times.h"
#include "mailer/mailer.h"

#define LINE_MAX_BYTES 998   /* RFC 5322 2.1.1, without CRLF */
#define WORD_BYTES 45        /* of text in an encoded word: 60 characters of base64, 72 in all */
#define QUOTED_LINE_BYTES 75 /* RFC 2045 6.7 (5), one is for the = at the end */

static bool is_atom(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool is_domain(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-';
}

/* One or more labels of such characters with single dots between them. */
static bool dotted(const char *text, size_t len, bool (*allowed)(unsigned char))
{
    bool dot = true; /* there must be something before the next one */
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.' ? dot : !allowed((unsigned char)text[i]))
            return false;
        dot = text[i] == '.';
    }
    return !dot;
}

bool mail_address_valid(const char *address)
{
    size_t len = strlen(address);
    const char *at = strchr(address, '@');
    if (!at || len > MAIL_ADDRESS_MAX || at - address > 64)
        return false;
    return dotted(address, (size_t)(at - address), is_atom) &&
           dotted(at + 1, len - (size_t)(at + 1 - address), is_domain);
}

/* ---- the subject ---- */

static bool subject_valid(const char *subject)
{
    for (const unsigned char *p = (const unsigned char *)subject; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            return false;
    return text_is_utf8(subject, strlen(subject));
}

static bool text_is_ascii(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p >= 0x80)
            return false;
    return true;
}

static void add_base64(struct str *out, const unsigned char *bytes, size_t len)
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;
        if (i + 1 < len)
            group |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < len)
            group |= bytes[i + 2];
        char quad[4] = {DIGITS[group >> 18], DIGITS[group >> 12 & 63],
                        i + 1 < len ? DIGITS[group >> 6 & 63] : '=',
                        i + 2 < len ? DIGITS[group & 63] : '='};
        str_add_bytes(out, quad, sizeof quad);
    }
}

static void add_subject(struct str *out, const char *subject)
{
    if (text_is_ascii(subject) && !strstr(subject, "=?")) {
        str_addf(out, "Subject: %s\r\n", subject);
        return;
    }
    str_add(out, "Subject:");
    for (size_t at = 0, len = strlen(subject); at < len;) {
        size_t take = len - at < WORD_BYTES ? len - at : WORD_BYTES;
        while (at + take < len && ((unsigned char)subject[at + take] & 0xc0) == 0x80)
            take--; /* a character is never cut in two */
        str_add(out, at == 0 ? " =?UTF-8?B?" : "\r\n =?UTF-8?B?");
        add_base64(out, (const unsigned char *)subject + at, take);
        str_add(out, "?=");
        at += take;
    }
    str_add(out, "\r\n");
}

/* ---- the date ---- */

static void add_date(struct str *out, int64_t at_us)
{
    static const char DAYS[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char MONTHS[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct date d = date_of(at_us);
    int64_t start_us = date_start_us(d);
    int64_t seconds = (at_us - start_us) / US_PER_S;
    int64_t weekday = (start_us / US_PER_DAY + 4) % 7; /* 1970-01-01 was a Thursday */
    str_addf(out, "Date: %s, %d %s %04d %02d:%02d:%02d +0000\r\n", DAYS[weekday], d.day,
             MONTHS[d.month - 1], (int)d.year, (int)(seconds / 3600), (int)(seconds / 60 % 60),
             (int)(seconds % 60));
}

/* ---- the body ---- */

struct body_facts {
    bool ascii, long_line, valid;
};

static struct body_facts body_look(const char *text)
{
    struct body_facts facts = {.ascii = text_is_ascii(text),
                               .valid = text_is_utf8(text, strlen(text)) && !strchr(text, '\r')};
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        facts.long_line = facts.long_line || len > LINE_MAX_BYTES;
        line += len + (line[len] == '\n');
    }
    return facts;
}

static void add_lines(struct str *out, const char *text)
{
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        str_add_bytes(out, line, len);
        str_add(out, "\r\n");
        line += len + (line[len] == '\n');
    }
}

static void add_quoted_line(struct str *out, const char *line, size_t len)
{
    size_t column = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)line[i];
        bool last = i + 1 == len;
        bool plain = (c > 0x20 && c < 0x7f && c != '=') || ((c == ' ' || c == '\t') && !last);
        size_t width = plain ? 1 : 3;
        if (column + width > QUOTED_LINE_BYTES) {
            str_add(out, "=\r\n");
            column = 0;
        }
        if (plain)
            str_add_bytes(out, &line[i], 1);
        else
            str_addf(out, "=%02X", c);
        column += width;
    }
    str_add(out, "\r\n");
}

static void add_quoted(struct str *out, const char *text)
{
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        add_quoted_line(out, line, len);
        line += len + (line[len] == '\n');
    }
}

static const char *body_encoding(const struct body_facts *facts)
{
    if (facts->long_line)
        return "quoted-printable";
    return facts->ascii ? "7bit" : "8bit";
}

enum err mail_format(const struct mail *mail, const char *from, struct str *out)
{
    struct body_facts facts = body_look(mail->text);
    char id[UUID_TEXT];
    if (!mail_address_valid(mail->to) || !mail_address_valid(from) ||
        !subject_valid(mail->subject) || !facts.valid)
        return ERR_INVALID;
    uuid_format(&mail->payment_id, id);
    add_date(out, mail->date_us);
    str_addf(out, "From: %s\r\nTo: %s\r\n", from, mail->to);
    add_subject(out, mail->subject);
    str_addf(out, "Message-ID: <%s@%s>\r\n", id, strchr(from, '@') + 1);
    str_addf(out,
             "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
             "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: %s\r\n\r\n",
             body_encoding(&facts));
    if (facts.long_line)
        add_quoted(out, mail->text);
    else
        add_lines(out, mail->text);
    return out->failed ? ERR_NO_MEMORY : ERR_OK;
}
