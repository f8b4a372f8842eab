#include "base/process.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#define FILES_ENOUGH 65536 /* connections of two loops, and room; "unlimited" serves nobody */

void process_raise_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    rlim_t wanted = files.rlim_max < FILES_ENOUGH ? files.rlim_max : FILES_ENOUGH;
    if (files.rlim_cur >= wanted)
        return;
    files.rlim_cur = wanted;
    (void)setrlimit(RLIMIT_NOFILE, &files); /* refused: the caps follow what there is */
}

void process_keep_private(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(SUBPAY_CRASH_POINTS)
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none); /* it may always be made less */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}
