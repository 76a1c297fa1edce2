/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of edges of any bytes: each is an edge with ids that may go out in JSON, nothing, or refused with a reason.  The same bytes as a
 * header of a .npy file.
 */
#include <jansson.h>

#include "base.h"
#include "graph_line.h"
#include "npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const struct graph_row *row)
{
        json_t *user = json_stringn(row->user, row->user_n), *item = json_stringn(row->item, row->item_n);

        assert(user && item); /* UTF-8 */
        assert(row->user_n > 0 && row->user_n <= ID_MAP_LENGTH_MAX && row->item_n > 0 && row->item_n <= ID_MAP_LENGTH_MAX);
        assert(row->weight > 0 && row->split_n <= 32);
        json_decref(user);
        json_decref(item);
}

static void read_lines(const uint8_t *data, size_t size, enum graph_format format)
{
        struct graph_source source = { .format = format };
        struct graph_layout layout;
        size_t at = 0;
        char why[224];

        assert(graph_layout_begin(&layout, &source, why, sizeof why) == 0);
        while (at < size) {
                const uint8_t *newline = memchr(data + at, '\n', size - at);
                size_t n = newline ? (size_t)(newline - (data + at)) : size - at;
                CLEANUP(free_p) char *line = malloc(n + 1); /* one byte of room behind it */
                json_t *json = NULL;
                struct graph_row row;
                int r;

                if (!line)
                        return;
                memcpy(line, data + at, n);
                why[0] = '\0';
                r = graph_line(&layout, line, n, &json, &row, why, sizeof why);
                assert(r >= 0 || why[0]);
                if (r > 0)
                        check_row(&row);
                json_decref(json);
                at += n + 1;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct npy npy;
        char why[224] = "";

        for (int format = GRAPH_AUTO; format <= GRAPH_JSONL; format++)
                read_lines(data, size, (enum graph_format)format);
        if (npy_parse(data, size, &npy, why, sizeof why) == 0)
                assert(npy.rows * npy.cols * npy.item == size - npy.data);
        else
                assert(why[0]);
        return 0;
}
