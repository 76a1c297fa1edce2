/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inbox.h - messages between threads: a list and an eventfd on the owner's loop.
 *
 * Anyone may post; deliver() runs on the owner's thread, in the order of posting.  A message belongs to its sender until it is
 * posted, then to deliver().  After inbox_finish() no thread may post.
 */
#ifndef PM_INBOX_H
#define PM_INBOX_H

#include <pthread.h>

struct event_base;

struct message {
        struct message *next;
        void (*deliver)(struct message *m, void *owner);
};

struct inbox {
        pthread_mutex_t lock;
        struct message *first, **last;
        int fd;
        struct event *event;
        void *owner;
};

int inbox_init(struct inbox *in, struct event_base *base, void *owner); /* 0 or -errno */
void inbox_post(struct inbox *in, struct message *m);                   /* any thread; never fails, never blocks for long */
/* Delivers what is there, now: before what a message stands in is freed.  The owner's thread. */
void inbox_deliver(struct inbox *in);
/* Delivers what is still there, then closes. */
void inbox_finish(struct inbox *in);
#endif
