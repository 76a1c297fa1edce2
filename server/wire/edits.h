/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edits.h - what is to be changed of a client's body: a list that query_splice() carries out.
 *
 * An edit is of a place or of a member.  Places are bytes of the body that become other ones; they stand in the order of the body and do
 * not overlap, which is checked.  Members are those of the body's outermost object: they are given a value, added or left out by name, in
 * whatever letters the client has written it (alike.h).  Of several edits of one member the last one counts.  An edit of a place that lies
 * in a member which gets another value, or goes, goes with it.
 */
#ifndef PM_EDITS_H
#define PM_EDITS_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "expert_api.h"
#include "pm_router.h"

struct edit_place {
        size_t at, n;       /* in the body; n 0: `with` is put in */
        struct pm_str with; /* n 0: those bytes go */
};

struct edit_member {
        struct pm_str name;  /* as the inside of a JSON string, which it is: with its quotes around it */
        struct pm_str value; /* JSON; p NULL: the member goes */
};

/* Begins as EDITS(arena), which must live as long as the list. */
struct edits {
        struct arena *arena;
        struct edit_place *places;   /* in their order */
        struct edit_member *members; /* in the order in which they were added */
        size_t n_places, places_room, n_members, members_room;
};

#define EDITS(a) ((struct edits){ .arena = (a) })

/*
 * All: 0, -ENOMEM, or -EINVAL: what is asked for cannot be, and nothing was added.  What is given must live as long as the list.
 *
 * Bytes of the body.  -EINVAL: another edit has some of them.  What is put in at one place stands there in the order in which it was added.
 */
int edits_replace(struct edits *e, size_t at, size_t n, struct pm_str with);
/* A part of one of the body's strings, as it lies there, becomes `text`, which is escaped here.  -EINVAL also: the part would cut a character or an escape
 * in two, or has a quote that ends the string. */
int edits_text(struct edits *e, struct pm_str body, struct pm_str part, struct pm_str text);
/* The member `name`, plain printable ASCII, has this value.  -EINVAL: a name that is none, a value that is not JSON, or a member that is ours to say:
 * model, stream, stream_options. */
int edits_set(struct edits *e, const char *name, struct pm_str value);
/* It goes, however often it stands there. */
int edits_remove(struct edits *e, const char *name);
/* The members of a JSON object, a router's `extra`, but for those that are ours to say.  -EINVAL: see edits_extra_check(). */
int edits_set_all(struct edits *e, struct pm_str object);
int edits_drop(struct edits *e, const struct expert_drop *drop);
/* All of another list, as if added here: -EINVAL if they overlap, and then some of them may have been. */
int edits_add(struct edits *e, const struct edits *more);

/* Is it a JSON object within the bounds PM_EXTRA_..._MAX?  0 with its number of members (may be NULL), or -EINVAL or -E2BIG with a clause. */
int edits_extra_check(struct pm_str extra, size_t *ret_members, const char **why);

static inline bool edits_any(const struct edits *e)
{
        return e->n_places || e->n_members;
}
/* Do the places stand in order within a body of so many bytes, without overlap?  True of every list that was made by the functions above for it. */
bool edits_in_order(const struct edits *e, size_t n);
#endif
