/* DATA_DIR/subpay.lock, and other locks there: a lock of the open file (not of the process): it ends with the process,
 * however that ends, a child does not inherit the right to it by accident, and F_OFD_GETLK asks
 * without taking. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/folder.h"
#include "ledger/embedded.h"

#define LOCK_TEXT 64
#define LOCK_READS_MAX 20 /* … of 5 ms: the holder writes its pid right after it has the lock */
#define MIGRATES " migrate"

static bool path_of(const char *data_dir, const char *name, char *out, size_t cap)
{
    int len = snprintf(out, cap, "%s/%s", data_dir[0] ? data_dir : ".", name);
    if (len > 0 && (size_t)len < cap)
        return true;
    out[0] = '\0';
    return false;
}

void embedded_path(const char *data_dir, char *out, size_t cap)
{
    (void)path_of(data_dir, "subpay.db", out, cap);
}

/* Of DATA_DIR or the lock in it; the caller names DATA_DIR. */
static enum err fails_with_errno(char *why, size_t why_cap)
{
    int number = errno;
    if (folder_explain(number, why, why_cap))
        return ERR_INVALID;
    return number == ENOSPC || number == EDQUOT ? ERR_NO_SPACE : ERR_IO;
}

static bool held(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Is it held, and what does its holder say? The text may be behind the lock by a moment. */
static bool holder_read(int fd, pid_t *pid, bool *migrates)
{
    *pid = 0;
    *migrates = false;
    for (int i = 0; i < LOCK_READS_MAX; i++) {
        char text[LOCK_TEXT] = "", *end;
        if (!held(fd))
            return false;
        ssize_t len = pread(fd, text, sizeof text - 1, 0);
        long number = strtol(text, &end, 10);
        if (len > 0 && number > 0 && strchr(text, '\n')) {
            *pid = (pid_t)number;
            *migrates = strncmp(end, MIGRATES, strlen(MIGRATES)) == 0;
            return true;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return true;
}

static bool holder(const char *data_dir, pid_t *pid, bool *migrates)
{
    char path[PATH_MAX];
    *pid = 0;
    *migrates = false;
    int fd = path_of(data_dir, "subpay.lock", path, sizeof path)
                 ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
                 : -1;
    if (fd < 0)
        return false;
    bool any = holder_read(fd, pid, migrates);
    close(fd);
    return any;
}

pid_t embedded_holder(const char *data_dir)
{
    pid_t pid;
    bool migrates;
    return holder(data_dir, &pid, &migrates) ? pid : 0;
}

bool embedded_holder_migrates(const char *data_dir)
{
    pid_t pid;
    bool migrates;
    return holder(data_dir, &pid, &migrates) && migrates;
}

static enum err lock_refused(int fd, char *why, size_t why_cap)
{
    pid_t pid;
    bool migrates;
    (void)holder_read(fd, &pid, &migrates);
    snprintf(why, why_cap, "in use by process %ld: stop it, or set another DATA_DIR", (long)pid);
    return ERR_LOCKED;
}

static enum err lock_take(int fd, bool migrator, char *why, size_t why_cap)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char text[LOCK_TEXT];
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0)
        return errno == EAGAIN || errno == EACCES ? lock_refused(fd, why, why_cap)
                                                  : fails_with_errno(why, why_cap);
    int len = snprintf(text, sizeof text, "%ld%s\n", (long)getpid(), migrator ? MIGRATES : "");
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
        return fails_with_errno(why, why_cap);
    return ERR_OK;
}

static enum err lock_open(int *out, const char *data_dir, const char *name, bool migrator,
                          char *why, size_t why_cap)
{
    char path[PATH_MAX];
    if (!folder_make(data_dir))
        return fails_with_errno(why, why_cap);
    if (!folder_is_private(data_dir, why, why_cap))
        return ERR_INVALID;
    if (!path_of(data_dir, name, path, sizeof path)) {
        errno = ENAMETOOLONG;
        return fails_with_errno(why, why_cap);
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fails_with_errno(why, why_cap);
    enum err err = lock_take(fd, migrator, why, why_cap);
    if (err != ERR_OK) {
        close(fd);
        return err;
    }
    *out = fd;
    return ERR_OK;
}

enum err embedded_lock(int *out, const char *data_dir, bool migrator, char *why, size_t why_cap)
{
    return lock_open(out, data_dir, "subpay.lock", migrator, why, why_cap);
}

enum err embedded_lock_simulator(int *out, const char *data_dir, char *why, size_t why_cap)
{
    return lock_open(out, data_dir, "processing.lock", false, why, why_cap);
}

void embedded_unlock(int fd)
{
    if (fd < 0)
        return;
    if (ftruncate(fd, 0) != 0) {
        /* Only a pid that nobody believes without the lock stays behind. */
    }
    close(fd);
}
