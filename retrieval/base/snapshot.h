/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - a file's bytes as they were when it was opened.
 *
 * What has been checked must not change while it is used: a file that is cut or written over in place would end the process, for a
 * mapped page is the file's.  So a file of up to SNAPSHOT_COPY_MAX is read into memory of our own, once for all who have the same file open
 * (routers, generations), and what happens to it is nobody's concern any more.  A larger one is mapped; it may be replaced by rename only
 * (pointsman-train does), and one that was written into while it was read is refused by snapshot_settle().  Any thread.
 */
#ifndef PM_SNAPSHOT_H
#define PM_SNAPSHOT_H

#include <stddef.h>

#define SNAPSHOT_COPY_MAX ((size_t)64 << 20)

struct snapshot;

/* A regular file of 1 byte or more.  0; -EINVAL: it is none; -EIO: it became shorter meanwhile; or another -errno. */
int snapshot_take(const char *path, struct snapshot **ret);
/* The same with another limit. */
int snapshot_take_up_to(const char *path, size_t copy_max, struct snapshot **ret);
void snapshot_release(struct snapshot *s); /* NULL is fine */

void *snapshot_bytes(const struct snapshot *s, size_t *ret_n); /* not to be written to */
/* Once all of it has been checked: 0, or -ESTALE: it has been written into since it was opened. */
int snapshot_settle(struct snapshot *s);
#endif
