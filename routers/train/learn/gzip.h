/* SPDX-License-Identifier: Apache-2.0 */
/* gzip.h - clean-up by scope for files that may be gzip'd: CLEANUP(gzclose_p) gzFile f. */
#ifndef PM_GZIP_H
#define PM_GZIP_H

#include <zlib.h>

static inline void gzclose_p(gzFile *f)
{
        if (*f)
                (void)gzclose(*f);
}
#endif
