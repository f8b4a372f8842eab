#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/uuid.h"
#include "cli/cli.h"
#include "http/jwt.h"

#define TTL_DEFAULT_S 3600
#define TTL_MAX_S 31536000 /* a year */

enum { USER, ROLE, TTL, OPTION_COUNT };

struct token_request {
    struct uuid user_id;
    bool admin;
    int64_t ttl_s;
};

/* CLI_DONE, or the code after it complained. */
static int read_options(const struct cli_option *options, struct token_request *out)
{
    const char *user = options[USER].value, *role = options[ROLE].value, *ttl = options[TTL].value;
    if (!user)
        return cli_usage("token: --user is missing: allowed is --user UUID");
    if (!uuid_parse(user, strlen(user), &out->user_id))
        return cli_usage("token: --user %s: allowed is a UUID (8-4-4-4-12 hexadecimal digits)",
                         user);
    if (role && strcmp(role, "admin") != 0)
        return cli_usage("token: --role %s: allowed is admin", role);
    out->admin = role != NULL;
    out->ttl_s = TTL_DEFAULT_S;
    if (ttl && !text_i64(ttl, 1, TTL_MAX_S, &out->ttl_s))
        return cli_usage("token: --ttl %s: allowed are seconds from 1 to %d", ttl, TTL_MAX_S);
    return CLI_DONE;
}

static int print_token(const struct config *config, const struct token_request *request)
{
    struct str token;
    str_init(&token, JWT_TOKEN_MAX);
    enum err err = jwt_sign(config, &request->user_id, request->admin, clock_wall_us(clock_real()),
                            request->ttl_s, &token);
    int code = err == ERR_OK ? CLI_DONE : cli_failed("token: %s", err_text(err));
    if (code == CLI_DONE)
        puts(token.data);
    str_release(&token);
    return code;
}

int cli_token(int argc, char **argv)
{
    struct cli_option options[OPTION_COUNT] = {
        [USER] = {.name = "--user", .takes_value = true},
        [ROLE] = {.name = "--role", .takes_value = true},
        [TTL] = {.name = "--ttl", .takes_value = true},
    };
    static const char *const algorithms[] = {"HS256", "RS256", "ES256", "EdDSA"};
    struct token_request request;
    struct config config;
    int code;
    if (!cli_parse(argc, argv, options, OPTION_COUNT, NULL, 0, NULL))
        return CLI_USAGE;
    code = read_options(options, &request);
    if (code != CLI_DONE || !cli_load(&config, CONFIG_FOR_SHOW, &code))
        return code;
    if (config.jwt_algorithm != JWT_HS256)
        return cli_usage(
            "token: JWT_ALGORITHM=%s: allowed is HS256, for subpay has no key that signs others",
            algorithms[config.jwt_algorithm]);
    if (!cli_jwt_key(&config, true, &code))
        return code;
    return print_token(&config, &request);
}
