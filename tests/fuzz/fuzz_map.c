/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the map file of category.so, beside a small model of categories "a" and "b": refused with a reason, or a router that
 * decides on one of the experts that there are, with fallbacks that are others, or passes.
 */
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loader.h"
#include "mempool.h"
#include "mockhost.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct pm_expert experts[] = { { .name = "small" }, { .name = "large" }, { .name = "coder" } };

static bool is_expert(const char *name)
{
        for (size_t i = 0; i < LENGTH_OF(experts); i++)
                if (name && strcmp(experts[i].name, name) == 0)
                        return true;
        return false;
}

static void ask(struct mockhost *host, const char *text)
{
        struct mock_ask ask = { .text = mock_str(text) };
        struct mock_result r;

        mockhost_run(host, &ask, &r);
        if (r.end == MOCK_DECIDED) {
                assert(is_expert(r.expert) && r.n_fallbacks < LENGTH_OF(experts) && r.category);
                for (size_t i = 0; i < r.n_fallbacks; i++)
                        assert(is_expert(r.fallbacks[i]) && strcmp(r.fallbacks[i], r.expert) != 0);
        } else {
                assert(r.end == MOCK_PASSED);
        }
        mock_result_finish(&r);
}

static struct plugin *category(void)
{
        static struct plugin *plugin;
        char why[1024] = "";

        if (!plugin && loader_open(ROUTERS "/category.so", &plugin, why, sizeof why) < 0) {
                (void)fprintf(stderr, "%s\n", why);
                abort();
        }
        return plugin;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(close_p) int fd = memfd_create("fuzz-map", MFD_CLOEXEC);
        struct mock_setup setup = { .experts = experts, .n_experts = LENGTH_OF(experts) };
        struct mempool *memory = mempool_create();
        struct mockhost *host = NULL;
        char path[64], why[4096] = "";
        json_t *options;

        assert(memory && fd >= 0 && write(fd, data, n) == (ssize_t)n);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        options = json_pack("{s:s, s:s, s:f}", "model", CORPUS "/classifier/good.safetensors", "map", path, "threshold", 0.4);
        assert(options);
        if (mockhost_open(category()->router, mempool_node(memory, options, "fuzz.json"), &setup, &host, why, sizeof why) == 0) {
                ask(host, "one two three");
                ask(host, "");
        } else {
                assert(why[0]);
        }
        mockhost_close(host);
        json_decref(options);
        mempool_destroy(memory);
        return 0;
}
