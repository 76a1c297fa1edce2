/* SPDX-License-Identifier: Apache-2.0 */
#include "instruct_explain.h"

#include <jansson.h>

#include "base.h"
#include "instruction.h"

void explain(struct pm_query *q, const struct explained *e)
{
        const struct gates_parts *p = e->parts;
        json_t *experts = json_array(), *o;
        char *text;

        for (size_t i = 0; i < e->n; i++) {
                const struct ranked *r = &e->ranked[i];

                (void)json_array_append_new(experts, json_pack("{s:s, s:f, s:f, s:f, s:f}", "expert", p->names[r->expert], "local", (double)e->local[r->expert],
                                                               "global", (double)e->global[r->expert], "score", (double)r->score, "weight", r->weight));
        }
        o = json_pack("{s:s*, s:s, s:s, s:{s:s*, s:f}, s:f, s:f, s:I, s:o}", "instruction", e->sentence[0] ? e->sentence : NULL, "instruction_from", e->source,
                      "asked_with", INSTRUCTION_VERSION, "nearest", "instruction", p->instructions ? p->texts[e->nearest] : NULL, "cosine", e->near, "threshold",
                      p->threshold, "alpha", e->alpha, "parts", (json_int_t)e->n_parts, "experts", experts);
        text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
        if (text)
                pm_explain(q, text);
        free(text);
        json_decref(o);
}
