#include "cost.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"

#define PROCESSES_MAX 64

static long server[PROCESSES_MAX];
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

static void cpu_now(struct cost *cost)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    cost->client_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    cost->server_s = 0;
    for (size_t i = 0; i < server_count; i++)
        cost->server_s += cpu_seconds(server[i]);
}

/* The time is read next to what is measured, the rest around it. */
struct cost cost_begin(void)
{
    struct cost cost;
    cpu_now(&cost);
    cost.seconds = seconds_now();
    return cost;
}

void cost_end(struct cost *sum, const struct cost *begun)
{
    struct cost now = {.seconds = seconds_now()};
    cpu_now(&now);
    sum->seconds += now.seconds - begun->seconds;
    sum->client_s += now.client_s - begun->client_s;
    sum->server_s += now.server_s - begun->server_s;
}
