/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instruct_adapters.h - experts that are adapters on a shared server.
 *
 * llama.cpp's server takes a request's adapters in the body: "lora": [{"id": 0, "scale": 0.5}, ...], an id being the adapter's place in the order
 * of its --lora arguments; those that are not listed have scale 0 (tools/server/README.md).  vLLM names an adapter where others name the model:
 * there each is a configured expert of its own (the same url, model: the adapter), and an entry here only says which.
 */
#ifndef PM_INSTRUCT_ADAPTERS_H
#define PM_INSTRUCT_ADAPTERS_H

#include <stdbool.h>

#include "gates.h"
#include "pm_router.h"

/* One entry of `adapters:`. */
struct adapter {
        const char *expert, *server;
        int64_t id;
        double scale;
};
extern const struct pm_option adapter_options[];

/* Who serves an expert of the model; server NULL: nobody that is configured. */
struct placed {
        const char *server;
        const struct adapter *adapter; /* NULL: it is a server by itself */
        size_t by_server;              /* placed[i].by_server: which one is the ith in the order of the servers' names */
};

/* An expert by its number in the model, its score, and its share of the weight. */
struct ranked {
        size_t expert;
        float score;
        double weight;
};

bool adapters_configured(const struct pm_open *o, const char *expert);
/* Whose each expert of the model is.  0, or refuse(). */
int adapters_place(const struct pm_open *o, const struct pm_tables *adapters, const char *model, const struct gates_parts *p, struct placed **ret);
/* usable[experts]: is its server among those of the query? */
void adapters_usable(const struct placed *placed, size_t n, const struct pm_query *q, bool *usable);
/* Members for the body: the weights of those of ranked[0..n) that the first one's server carries, together 1; NULL: none are needed. */
const char *adapters_extra(struct pm_query *q, const struct placed *placed, const struct ranked *ranked, size_t n);
#endif
