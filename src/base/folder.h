/* folder.h: folders of ours on disk: private, and there for good once made. Any thread. */
#ifndef SUBPAY_BASE_FOLDER_H
#define SUBPAY_BASE_FOLDER_H

#include <stdbool.h>

/* mkdir -p: what is missing is made with mode 0700, and its name synced into its parent; what is there is left
 * alone. false: errno says why (ENAMETOOLONG, EACCES, ENOTDIR, …). "" is the working directory. */
bool folder_make(const char *path);
bool folder_sync(
    const char *path); /* fsync of the folder itself: names made or changed in it are durable */

#endif
