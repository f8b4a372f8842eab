/* topic.h: private to `subpay topic`: its longer subcommands. argv[0] is the subcommand. */
#ifndef SUBPAY_CLI_TOPIC_H
#define SUBPAY_CLI_TOPIC_H

#include "base/config.h"

#define TOPIC_SEPARATOR_MAX 64 /* bytes of -K */

int topic_produce(const struct config *config, int argc, char **argv);
int topic_consume(const struct config *config, int argc, char **argv);
int topic_rewind(const struct config *config, int argc, char **argv);
int topic_create(const struct config *config, int argc, char **argv);
int topic_check(const struct config *config, int argc, char **argv);
int topic_put_back(const struct config *config, int argc, char **argv);

/* -K as typed; \t stands for a TAB. false after it printed the line. */
bool topic_separator(const char *typed, const char **out);

#endif
