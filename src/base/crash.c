#include "base/crash.h"

#ifdef SUBPAY_CRASH_POINTS

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define CRASH_POINTS_MAX 256

/* The only state here: a test build has one process and one plan. */
static struct {
    pthread_mutex_t lock;
    const char *seen[CRASH_POINTS_MAX];
    int64_t passed[CRASH_POINTS_MAX];
    int count;
} points = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int point_index(const char *name)
{
    for (int i = 0; i < points.count; i++)
        if (strcmp(points.seen[i], name) == 0)
            return i;
    if (points.count == CRASH_POINTS_MAX)
        abort();
    points.seen[points.count] = name;
    return points.count++;
}

static void point_note(const char *name)
{
    const char *path = secure_getenv("SUBPAY_CRASH_LOG");
    char line[128];
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    int len = snprintf(line, sizeof line, "%s\n", name);
    if (fd >= 0 && write(fd, line, (size_t)len) != len)
        abort();
    if (fd >= 0)
        close(fd);
}

static bool point_is_planned(const char *name, int64_t passed)
{
    const char *plan = secure_getenv("SUBPAY_CRASH");
    size_t len = strlen(name);
    int64_t when;
    return plan && strncmp(plan, name, len) == 0 && plan[len] == ':' &&
           text_i64(plan + len + 1, 1, INT64_MAX, &when) && when == passed;
}

void crash_point(const char *static_name)
{
    pthread_mutex_lock(&points.lock);
    int64_t passed = ++points.passed[point_index(static_name)];
    if (passed == 1)
        point_note(static_name);
    if (point_is_planned(static_name, passed))
        raise(SIGKILL);
    pthread_mutex_unlock(&points.lock);
}

#else
typedef int crash_points_are_compiled_out; /* a file is not empty in C */
#endif
