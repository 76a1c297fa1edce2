/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fixture_shop.h - a small catalogue for interests.so in the stand's folder: the items y z x w, the users b a c, and the attribute k.
 */
#ifndef TESTS_FUZZ_STAND_SHOP_H
#define TESTS_FUZZ_STAND_SHOP_H

#include <fcntl.h>

#include "fixture.h"

#include "base.h"

/* Its arrays are a seed of another fuzzer, behind one byte. */
static inline void shop_write(void)
{
        static const char manifest[] = "{\"kind\": \"pointsman.interests\", \"version\": 1, \"settings\": {\"interests\": 4, \"neighbours\": 3, "
                                       "\"own\": 0.5, \"near\": 1, \"also\": 1, \"votes\": 1, \"popular\": 1, \"self\": 1, \"sharpness\": 2, "
                                       "\"pool\": 200, \"budget\": 20}, \"files\": {\"catalogue.safetensors\": {\"bytes\": %zd}}}";
        static char bytes[65536];
        CLEANUP(close_p) int from = open(CORPUS "/catalogue/arrays", O_RDONLY | O_CLOEXEC);
        ssize_t n = from >= 0 ? read(from, bytes, sizeof bytes) : -1;
        char path[128];
        FILE *f;

        assert(n > 1 && (size_t)n < sizeof bytes);
        (void)snprintf(path, sizeof path, "%s/catalogue.safetensors", stand_folder());
        f = fopen(path, "we");
        assert(f && fwrite(bytes + 1, 1, (size_t)n - 1, f) == (size_t)n - 1 && fclose(f) == 0);
        (void)snprintf(path, sizeof path, "%s/manifest.json", stand_folder());
        f = fopen(path, "we");
        assert(f && fprintf(f, manifest, n - 1) > 0 && fclose(f) == 0);
}
#endif
