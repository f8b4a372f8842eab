/* cli.h: the commands of contract section 3. Each takes its own argv (argv[0] is the command) and
 * returns the exit code: 0 done, 1 failed, 2 wrong usage or configuration (one line on stderr that
 * names flag or variable, value and what is allowed), 3 not checkable. */
#ifndef SUBPAY_CLI_CLI_H
#define SUBPAY_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/uuid.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_NOT_CHECKED = 3 };

int cli_run(int argc, char **argv);
int cli_processing(int argc, char **argv);
int cli_service(int argc, char **argv); /* subscription-app, saver, processor, notifier */
int cli_migrate(int argc, char **argv);
int cli_token(int argc, char **argv);
int cli_topic(int argc, char **argv);
int cli_audit(int argc, char **argv);
int cli_price(int argc, char **argv);
int cli_decide(int argc, char **argv);
int cli_backup(int argc, char **argv);
int cli_copy(int argc, char **argv);
int cli_restored(int argc, char **argv);
int cli_config(int argc, char **argv);

/* Configuration for a command; on failure it has printed the line and *code is set. */
bool cli_load(struct config *c, enum config_for purpose, int *code);
/* Before and after a command: standard streams are open and SIGPIPE is ignored (false: they cannot
 * be); what could not be written to standard output makes a success a failure. */
bool cli_start(void);
int cli_finish(int code);
const char *cli_version(void); /* "0.1.0" */
/* Prints "subpay: …" to stderr, one line; cli_note for what is worth knowing and no failure. */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and returns CLI_USAGE; CLI_FAILED. */
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cli_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The one argument parser: "--name VALUE", "--name=VALUE", "--flag", and positions in order. */
struct cli_option {
    const char *name; /* "--user", or "-K" */
    bool takes_value;
    bool given;        /* out */
    const char *value; /* out */
};
/* Positions into rest (at most rest_max); false after it printed the line. "-KVALUE" is understood
 * too, "--" ends the options, and -1 is a position. The texts are argv's. */
bool cli_parse(int argc, char **argv, struct cli_option *options, int option_count,
               const char **rest, int rest_max, int *rest_count);
/* --accept-partitions N of run and saver, into the configuration; false after it printed the line. */
bool cli_accept_partitions(const struct cli_option *option, struct config *config);
/* dev on embedded engines without JWT_SECRET_KEY: DATA_DIR/jwt.key into c->jwt_secret; `create`
 * makes (and says so on stderr) directory (0700) and key (0600) where there is none, also when two do so at once. Does
 * nothing where a key is configured or the algorithm has none. False after it printed the line:
 * *code is set. */
bool cli_jwt_key(struct config *c, bool create, int *code);

#endif
