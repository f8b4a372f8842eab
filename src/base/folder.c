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
