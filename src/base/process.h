/* process.h: what a process asks of the kernel for itself, at its start. */
#ifndef SUBPAY_BASE_PROCESS_H
#define SUBPAY_BASE_PROCESS_H

/* As many open files as this user may have, up to what can be of use: a connection is one. */
void process_raise_files(void);
/* No core file, and no reading of its memory by other processes of the same user: it holds keys and what users
 * pay with. Does nothing where a sanitizer or the crash points need to look inside. */
void process_keep_private(void);

#endif
