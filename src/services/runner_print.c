/* What `subpay run` says once it is ready: where everything is, and a first payment to paste. */
#include "services/runner_inside.h"

#include <stdio.h>

#define TOKEN_TTL_S 86400

/* dev only: in prod a token on standard output would be a secret in a log. */
static void print_try_it(const struct runner *r)
{
    struct uuid user = uuid_v7(clock_wall_us(r->env.clock), r->env.random);
    struct str token;

    if (r->config->prod || r->config->jwt_algorithm != JWT_HS256)
        return;
    str_init(&token, JWT_TOKEN_MAX);
    if (jwt_sign(r->config, &user, false, clock_wall_us(r->env.clock), TOKEN_TTL_S, &token) ==
            ERR_OK &&
        !token.failed) {
        printf("pay for a month, see what became of it, and read the mail:\n"
               "  curl -X POST '%s/api/v1/payments/?payment_type=payment&subscription_type=month' "
               "-H 'Authorization: Bearer %s'\n"
               "  curl '%s/api/v1/payments/' -H 'Authorization: Bearer %s'\n"
               "  cat '%s'/mail/*.eml\n",
               r->api_url, token.data, r->api_url, token.data, r->config->data_dir);
    }
    str_release(&token);
}

void runner_print(const struct runner *r)
{
    if (r->api_url[0] != '\0')
        printf("API         %s/api/v1/\n"
               "its page    %s/api/openapi\n",
               r->api_url, r->api_url);
    if (r->simulator_url[0] != '\0')
        printf("processing  %s (simulator)\n", r->simulator_url);
    if (r->ops_url[0] != '\0')
        printf("ops         %s/metrics and /health/ready\n", r->ops_url);
    printf("data        %s\n", r->config->data_dir);
    if (r->api_url[0] != '\0')
        print_try_it(r);
    printf("subpay is ready\n"); /* the last line: who waits for it has read the others */
    fflush(stdout);
}
