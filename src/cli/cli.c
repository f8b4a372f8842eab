#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ENV_FILE ".env"
#define WHY_MAX 2048
#define COMPLAINT_MAX 4096

/* One line, whatever the arguments hold. */
static void complain(const char *format, va_list args)
{
    char line[COMPLAINT_MAX];
    vsnprintf(line, sizeof line, format, args);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            *p = '?';
    fflush(stdout); /* what was printed before stands before the complaint */
    fprintf(stderr, "subpay: %s\n", line);
}

void cli_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
}

int cli_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
    return CLI_USAGE;
}

int cli_failed(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
    return CLI_FAILED;
}

bool cli_load(struct config *c, enum config_for purpose, int *code)
{
    char why[WHY_MAX] = "";
    enum err err = config_load(c, purpose, environ, ENV_FILE, why, sizeof why);
    if (err == ERR_OK)
        return true;
    *code =
        err == ERR_INVALID ? cli_usage("%s", why) : cli_failed("configuration: %s", err_text(err));
    return false;
}

bool cli_start(void)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that left is an error of a write */
    /* A closed standard stream is filled, or the first file to be opened would get what is
     * printed. */
    int fd;
    do
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

int cli_finish(int code)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) != 0)
        failed = true;
    if (!failed)
        return code;
    const char *reason = errno ? strerror(errno) : "writing failed";
    cli_failed("standard output: %s", reason);
    return code == CLI_DONE ? CLI_FAILED : code;
}

const char *cli_version(void)
{
    return SUBPAY_VERSION;
}

/* Arguments */

static bool is_option(const char *argument)
{
    /* "-" is a position, and so is -1: `migrate downgrade -1` */
    return argument[0] == '-' && argument[1] != '\0' && !(argument[1] >= '0' && argument[1] <= '9');
}

static void list_options(const struct cli_option *options, int count, char *out, size_t cap)
{
    size_t len = 0;
    out[0] = '\0';
    for (int i = 0; i < count && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s%s", i > 0 ? ", " : "", options[i].name);
    if (count == 0)
        snprintf(out, cap, "no options");
}

/* The option that an argument names; *value gets what is attached: --name=VALUE, -KVALUE. */
static struct cli_option *find_option(struct cli_option *options, int count, const char *argument,
                                      const char **value)
{
    for (int i = 0; i < count; i++) {
        size_t len = strlen(options[i].name);
        bool is_long = options[i].name[1] == '-';
        if (strncmp(argument, options[i].name, len) != 0)
            continue;
        if (argument[len] == '\0')
            *value = NULL;
        else if (is_long && argument[len] == '=')
            *value = argument + len + 1;
        else if (!is_long && options[i].takes_value)
            *value = argument + len;
        else
            continue;
        return &options[i];
    }
    return NULL;
}

/* Reads the option at argv[*i], and its value. */
static bool parse_option(int argc, char **argv, int *i, struct cli_option *options, int count)
{
    const char *argument = argv[*i], *value = NULL;
    struct cli_option *o = find_option(options, count, argument, &value);
    if (!o) {
        char known[512];
        list_options(options, count, known, sizeof known);
        cli_usage("%s: %s is unknown: allowed are %s", argv[0], argument, known);
        return false;
    }
    bool missing = o->takes_value && !value && *i + 1 >= argc;
    if (o->given)
        cli_usage("%s: %s is given twice: allowed is once", argv[0], o->name);
    else if (!o->takes_value && value)
        cli_usage("%s: %s=%s: allowed is %s without a value", argv[0], o->name, value, o->name);
    else if (missing)
        cli_usage("%s: %s has no value: allowed is %s VALUE", argv[0], o->name, o->name);
    if (o->given || missing || (!o->takes_value && value))
        return false;
    o->given = true;
    o->value = o->takes_value && !value ? argv[++*i] : value;
    return true;
}

static void refuse_position(const char *command, const char *argument, int allowed)
{
    if (allowed == 0)
        cli_usage("%s: unexpected argument %s: allowed are options alone (see subpay %s --help)",
                  command, argument, command);
    else
        cli_usage("%s: unexpected argument %s: allowed %s %d besides options (see subpay %s "
                  "--help)",
                  command, argument, allowed == 1 ? "is" : "are", allowed, command);
}

bool cli_parse(int argc, char **argv, struct cli_option *options, int option_count,
               const char **rest, int rest_max, int *rest_count)
{
    bool options_over = false;
    int count = 0;
    for (int i = 1; i < argc; i++) {
        if (!options_over && strcmp(argv[i], "--") == 0) {
            options_over = true;
        } else if (!options_over && is_option(argv[i])) {
            if (!parse_option(argc, argv, &i, options, option_count))
                return false;
        } else if (count < rest_max) {
            rest[count++] = argv[i];
        } else {
            refuse_position(argv[0], argv[i], rest_max);
            return false;
        }
    }
    if (rest_count)
        *rest_count = count;
    return true;
}
