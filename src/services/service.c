#include "services/service.h"

enum err trouble_note(struct trouble *t, const struct env *env, const char *service,
                      const char *doing, enum err err, const char *why)
{
    int64_t now_us = clock_boot_us(env->clock);

    if (err == ERR_OK) {
        if (t->count > 0)
            log_event(env->log, LOG_INFO, service, "works again", F_STR("doing", doing),
                      F_NUM("failures", t->count),
                      F_NUM("seconds", (now_us - t->since_boot_us) / US_PER_S));
        *t = (struct trouble){0};
        return err;
    }
    if (t->count == 0) {
        t->since_boot_us = now_us;
        t->pause_us = SERVICE_PAUSE_MIN_US;
        log_event(env->log, err_retriable(err) ? LOG_WARN : LOG_ERROR, service, "failed",
                  F_STR("doing", doing), F_STR("error", err_text(err)),
                  F_STR("why", why != NULL ? why : ""));
    } else if (t->pause_us < SERVICE_PAUSE_MAX_US) {
        t->pause_us =
            t->pause_us * 2 < SERVICE_PAUSE_MAX_US ? t->pause_us * 2 : SERVICE_PAUSE_MAX_US;
    }
    t->count++;
    /* An error that no repeat can help with waits as well: a loop without a pause helps nobody. */
    t->until_boot_us = now_us + t->pause_us;
    return err;
}

bool trouble_waits(const struct trouble *t, const struct env *env)
{
    return t->count > 0 && clock_boot_us(env->clock) < t->until_boot_us;
}
