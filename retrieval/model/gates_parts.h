/* SPDX-License-Identifier: Apache-2.0 */
/* gates_parts.h - gates.c and gates_file.c among themselves. */
#ifndef PM_GATES_PARTS_H
#define PM_GATES_PARTS_H

#include <jansson.h>

#include "gates.h"
#include "tensors.h"

struct gates {
        struct gates_parts parts;
        /* what a file needs besides; NULL where it was made from parts */
        struct tensors *file;
        json_t *names, *texts;
        const char **name_list, **text_list;
};

void gates_file_finish(struct gates *g);
#endif
