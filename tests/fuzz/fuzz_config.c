/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration file's text into settings, without plugins.  Whatever the bytes are: no crash, no leak; no settings only with a
 * word why; and a text that has no mistake has what a generation is built from.
 */
#include "config.h"
#include "settings.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct problems *p = problems_create(20);
        struct settings *s;
        struct arena arena;

        assert(p);
        arena_init(&arena, NULL, SIZE_MAX);
        s = config_parse((const char *)data, size, "f", "/nowhere", &arena, p);
        if (problems_count(p) == 0) {
                assert(s && s->experts.n > 0 && s->routes.n > 0 && s->listen.n > 0);
                for (size_t i = 0; i < s->experts.n; i++)
                        assert(SETTINGS_AT(s->experts, struct expert_settings, i).name &&
                               SETTINGS_AT(s->experts, struct expert_settings, i).endpoints.n > 0);
                for (size_t i = 0; i < s->routers.n; i++)
                        assert(SETTINGS_AT(s->routers, struct router_settings, i).plugin);
                for (size_t i = 0; i < s->listen.n; i++)
                        assert(SETTINGS_AT(s->listen, struct listen_settings, i).address);
                free(options_to_json(settings_table, s));
        } else {
                assert(problems_text(p)[0]);
        }
        arena_finish(&arena);
        problems_destroy(p);
        return 0;
}
