/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.h - a list through what is on it: `struct x { struct x *next, **pprev; ... }`, its head a `struct x *`.  What is on no list
 * has pprev NULL once it was taken off one.
 */
#ifndef PM_LIST_H
#define PM_LIST_H

#include <stddef.h>

/* At the front. */
#define LIST_PUSH(list, entry)                                                                                                            \
        do {                                                                                                                              \
                __typeof__(entry) pushed_ = (entry), *list_ = (list);                                                                     \
                pushed_->next = *list_;                                                                                                   \
                pushed_->pprev = list_;                                                                                                   \
                if (pushed_->next)                                                                                                        \
                        pushed_->next->pprev = &pushed_->next;                                                                            \
                *list_ = pushed_;                                                                                                         \
        } while (0)

/* It is on a list. */
#define LIST_UNLINK(entry)                                                                                                                \
        do {                                                                                                                              \
                __typeof__(entry) unlinked_ = (entry);                                                                                    \
                *unlinked_->pprev = unlinked_->next;                                                                                      \
                if (unlinked_->next)                                                                                                      \
                        unlinked_->next->pprev = unlinked_->pprev;                                                                        \
                unlinked_->next = NULL;                                                                                                   \
                unlinked_->pprev = NULL;                                                                                                  \
        } while (0)
#endif
