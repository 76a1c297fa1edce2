// SPDX-License-Identifier: Apache-2.0
// The ABI's header from C++17: the tables of options and a router's table; moves go through the host's functions.
#include "pm_router.h"

namespace {

struct Inner {
        const char *name;
        int64_t rank;
};

struct Self {
        int on;
        int64_t k, bytes, wait, mode;
        double share;
        const char *text, *file;
        pm_strs words;
        Inner inner;
        pm_tables list;
};

const pm_option inner[] = {
        PM_KEY_OPTION(Inner, name),
        PM_INT_OPTION(Inner, rank, "rank", "1", 0, 9, "a rank"),
        PM_END_OPTION
};

const pm_option options[] = {
        PM_BOOL_OPTION(Self, on, "on", "true", "on"),
        PM_INT_OPTION(Self, k, "k", "3", 1, 9, "k"),
        PM_REAL_OPTION(Self, share, "share", nullptr, 0, 1, "share"),
        PM_STR_OPTION(Self, text, "text", PM_SECRET, nullptr, "text"),
        PM_PATH_OPTION(Self, file, "file", 0, nullptr, "file"),
        PM_SIZE_OPTION(Self, bytes, "bytes", "1KiB", 0, 0, "bytes"),
        PM_TIME_OPTION(Self, wait, "wait", "1s", 0, 0, "wait"),
        PM_CHOICE_OPTION(Self, mode, "mode", "a", "a|b", "mode"),
        PM_STRS_OPTION(Self, words, "words", 0, 0, 3, "words"),
        PM_TABLES_OPTION(Self, list, Inner, "list", 0, 0, 0, inner, "list"),
        PM_END_OPTION
};

pm_step route(void *self, pm_query *q)
{
        pm_decision d = {};

        d.expert = static_cast<Self *>(self)->text;
        return q->n_experts ? q->host->decide(q, &d) : pm_pass(q);
}

} // namespace

extern "C" PM_EXPORT const pm_router *pm_router_table(void)
{
        static const pm_router table = { sizeof(pm_router), PM_ABI_MAJOR, PM_ABI_MINOR, "cplusplus", "1", "a router in C++17",
                                         sizeof(Self), options, nullptr, nullptr, route, nullptr, nullptr, PM_READS_NOTHING };
        return &table;
}
