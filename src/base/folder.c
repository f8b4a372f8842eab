#include "base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

bool folder_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool synced = fsync(fd) == 0;
    int error = errno;
    close(fd);
    errno = error;
    return synced;
}

/* One folder whose parent is there. */
static bool folder_make_one(const char *path)
{
    char parent[PATH_MAX + 4];
    struct stat status;
    if (mkdir(path, 0700) == 0) {
        snprintf(parent, sizeof parent, "%s/..", path);
        return folder_sync(parent);
    }
    if (errno != EEXIST)
        return false;
    if (stat(path, &status) != 0)
        return false;
    errno = ENOTDIR;
    return S_ISDIR(status.st_mode);
}

bool folder_make(const char *path)
{
    char part[PATH_MAX];
    if (!text_copy(part, sizeof part, path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    for (char *slash = part; *slash; slash++) {
        if (*slash != '/' || slash == part)
            continue;
        *slash = '\0';
        if (!folder_make_one(part))
            return false;
        *slash = '/';
    }
    return part[0] == '\0' || folder_make_one(part);
}

bool folder_is_private(const char *path, char *why, size_t why_cap)
{
    struct stat status;
    if (stat(path[0] ? path : ".", &status) != 0 || !S_ISDIR(status.st_mode))
        return true; /* whoever opens it says so */
    if (status.st_uid != geteuid()) {
        snprintf(why, why_cap, "belongs to user %ld, not to this process's user %ld",
                 (long)status.st_uid, (long)geteuid());
        return false;
    }
    if (status.st_mode & 022) {
        snprintf(why, why_cap, "can be written by others (mode %03o): chmod go-w",
                 (unsigned)status.st_mode & 0777);
        return false;
    }
    return true;
}

bool folder_explain(int error, char *why, size_t why_cap)
{
    switch (error) {
    case ENOTDIR:
    case EEXIST:
        snprintf(why, why_cap, "is not a directory");
        return true;
    case ENAMETOOLONG:
        snprintf(why, why_cap, "is too long: a name has at most %d bytes, a path %d", NAME_MAX,
                 PATH_MAX - 1);
        return true;
    case ENOENT: /* of a file system that makes none, such as /proc */
    case EACCES:
    case EPERM:
    case EROFS:
        snprintf(why, why_cap, "cannot be written: %s", strerror(error));
        return true;
    default:
        snprintf(why, why_cap, "%s", strerror(error));
        return false;
    }
}
