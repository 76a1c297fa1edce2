/* SPDX-License-Identifier: Apache-2.0 */
/*
 * on_mockhost.h - a router from its file, opened on mockhost with options written as JSON, for the tests of this folder.
 */
#ifndef TESTS_ON_MOCKHOST_H
#define TESTS_ON_MOCKHOST_H

#include <criterion/criterion.h>

#include "loader.h"
#include "mockhost.h"
#include "mempool.h"

#include "base.h"

struct on {
        struct plugin *plugin;
        struct mockhost *host;
        struct mempool *memory;
        char why[4096]; /* of the last open that failed */
};

static const struct pm_expert three_experts[] = {
        { .name = "small", .price_in = .1, .price_out = .2, .context = 8192 },
        { .name = "large", .price_in = 2, .price_out = 8, .context = 131072 },
        { .name = "coder", .price_in = 1, .price_out = 3, .context = 32768 },
};

/* PM_ROUTERS or PM_TEST_ROUTERS with a file's name behind it; the build sets both. */
static inline const char *module_path(const char *folder, const char *name)
{
        static char path[4096];
        const char *dir = secure_getenv(folder);

        cr_assert(dir, "%s is not set: run through `meson test`", folder);
        (void)snprintf(path, sizeof path, "%s/%s.so", dir, name);
        return path;
}

static inline int on_open(struct on *o, const char *folder, const char *name, const char *json, const struct mock_setup *setup)
{
        struct mock_setup plain = { .experts = three_experts, .n_experts = LENGTH_OF(three_experts) };
        struct mock_setup with = setup ? *setup : plain;
        json_error_t error;
        json_t *value = json ? json_loads(json, 0, &error) : NULL;
        int r;

        cr_assert(!json || value, "%s: %s", json ? json : "", error.text);
        if (!with.experts) {
                with.experts = three_experts;
                with.n_experts = LENGTH_OF(three_experts);
        }
        *o = (struct on){ .memory = mempool_create() };
        cr_assert_eq(loader_open(module_path(folder, name), &o->plugin, o->why, sizeof o->why), 0, "%s", o->why);
        r = mockhost_open(o->plugin->router, value ? mempool_node(o->memory, value, "test.json") : NULL, &with, &o->host,
                          o->why, sizeof o->why);
        json_decref(value);
        return r;
}

static inline void on_close(struct on *o)
{
        mockhost_close(o->host);
        loader_free(o->plugin);
        mempool_destroy(o->memory);
        *o = (struct on){ 0 };
}

static inline struct mock_result on_ask(struct on *o, const char *text)
{
        struct mock_ask ask = { .text = mock_str(text) };
        struct mock_result r;

        mockhost_run(o->host, &ask, &r);
        return r;
}
#endif
