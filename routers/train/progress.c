/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line, redrawn in place.
 */
#include "base.h"
#include "progress.h"

#define WIDTH 40

static int64_t drawn_us;
static bool drawn;

void progress_show(const char *what, size_t done, size_t total)
{
        static const char bar[] = "########################################";
        int64_t now = now_us();
        int full = total ? (int)(MIN(done, total) * WIDTH / total) : 0;

        if (!isatty(STDERR_FILENO) || (drawn && now - drawn_us < 100000))
                return;
        if (total)
                (void)fprintf(stderr, "\r%-10s [%-*.*s] %zu/%zu\033[K", what, WIDTH, full, bar, done, total);
        else
                (void)fprintf(stderr, "\r%-10s %zu\033[K", what, done);
        (void)fflush(stderr);
        drawn = true;
        drawn_us = now;
}

void progress_done(void)
{
        if (drawn)
                (void)fprintf(stderr, "\r\033[K");
        drawn = false;
}
