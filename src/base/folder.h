/* folder.h: folders of ours on disk: private, and there for good once made. Any thread. */
#ifndef SUBPAY_BASE_FOLDER_H
#define SUBPAY_BASE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

/* mkdir -p: what is missing is made with mode 0700, and its name synced into its parent; what is there is left
 * alone. false: errno says why (ENAMETOOLONG, EACCES, ENOTDIR, …). "" is the working directory. */
bool folder_make(const char *path);
/* What an errno of a folder means to who chose its path: "is not a directory", "cannot be written: …". true: the
 * path is to be changed; false: something else is wrong, such as a full disk. */
bool folder_explain(int error, char *why, size_t why_cap);
/* Is a folder that is there ours alone: owned by this user, written by nobody else? false: why says what is to be
 * done. One that is not there is nobody's. */
bool folder_is_private(const char *path, char *why, size_t why_cap);
bool folder_sync(
    const char *path); /* fsync of the folder itself: names made or changed in it are durable */

#endif
