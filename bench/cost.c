#include "cost.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/str.h"

#define PROCESSES_MAX 64

static long server[PROCESSES_MAX];
static double used[PROCESSES_MAX]; /* CPU seconds; of one that is gone, what it had used */
static size_t server_count;

/* The n-th number behind the name in what /proc says of a process; 0 when it is gone. */
static long long proc_number(long pid, const char *file, int n)
{
    char path[64], text[1024] = "";
    FILE *f;
    (void)snprintf(path, sizeof path, "/proc/%ld/%s", pid, file);
    if (!(f = fopen(path, "re")))
        return 0;
    size_t len = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[len] = '\0';
    const char *at = strrchr(text, ')');
    for (at = at ? at + 1 : text; n > 0 && at; n--)
        at = strchr(at + 1, ' ');
    return at ? strtoll(at, NULL, 10) : 0;
}

static long parent_of(long pid)
{
    return (long)proc_number(pid, "stat", 1); /* behind the state */
}

/* Ticks of a hundredth are too coarse for a verb. */
static double cpu_seconds(long pid)
{
    return (double)proc_number(pid, "schedstat", 0) / 1e9;
}

/* Once: with hundreds of processes around it takes as long as what is measured. */
void cost_server(long backend)
{
    long postmaster = backend ? parent_of(backend) : 0;
    DIR *proc = postmaster ? opendir("/proc") : NULL;
    server_count = 0;
    for (struct dirent *e; proc && (e = readdir(proc)) && server_count < PROCESSES_MAX;) {
        long pid = strtol(e->d_name, NULL, 10);
        if (pid > 0 && (pid == postmaster || parent_of(pid) == postmaster))
            server[server_count++] = pid;
    }
    if (proc)
        (void)closedir(proc);
}

static double seconds_now(void)
{
    return (double)clock_boot_us(clock_real()) / 1e6;
}

static double client_now(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double server_now(void)
{
    double sum = 0;
    for (size_t i = 0; i < server_count; i++) {
        double now = cpu_seconds(server[i]);
        if (now > used[i])
            used[i] = now;
        sum += used[i];
    }
    return sum;
}

/* From the outside to the inside, and back: looking costs as well. */
struct cost cost_begin(void)
{
    struct cost cost = {.server_s = server_now()};
    cost.client_s = client_now();
    cost.seconds = seconds_now();
    return cost;
}

void cost_end(struct cost *sum, const struct cost *begun)
{
    sum->seconds += seconds_now() - begun->seconds;
    sum->client_s += client_now() - begun->client_s;
    sum->server_s += server_now() - begun->server_s;
}

bool cost_asked(int64_t *count)
{
    char line[32];
    if (!fgets(line, sizeof line, stdin))
        return false;
    line[strcspn(line, "\n")] = '\0';
    return text_i64(line, 1, COST_MAX, count);
}
