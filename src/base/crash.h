/* crash.h: named points at the boundaries of side effects, where a test kills the process.
 *
 * Compiled out unless the build option crash_points is set: then SUBPAY_CRASH=NAME:N in the environment raises
 * SIGKILL when the point NAME is passed for the N-th time, and SUBPAY_CRASH_LOG=FILE gets the name of every
 * point at its first passing, a line each. Names are ROOM.EFFECT.WHEN, each in one place; tests/flow reads them
 * from the sources and shows that every one was reached. Any thread. */
#ifndef SUBPAY_BASE_CRASH_H
#define SUBPAY_BASE_CRASH_H

#ifdef SUBPAY_CRASH_POINTS
void crash_point(const char *static_name);
#define CRASH_POINT(name) crash_point(name)
#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
