/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A catalogue's files of any bytes: refused with a reason, or whole, and then it answers.  The first byte says which file the rest is:
 * 'm' the manifest (with no arrays beside it), else the arrays.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base.h"
#include "interests.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];

static void gone(void)
{
        char path[128];

        (void)snprintf(path, sizeof path, "%s/" CATALOGUE_ARRAYS, folder);
        (void)unlink(path);
        (void)snprintf(path, sizeof path, "%s/" CATALOGUE_MANIFEST, folder);
        (void)unlink(path);
        (void)rmdir(folder);
}

static bool put(const char *name, const void *data, size_t n)
{
        char path[128];
        CLEANUP(close_p) int fd = -1;

        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        return fd >= 0 && write(fd, data, n) == (ssize_t)n;
}

static void answer(const struct catalogue *c)
{
        struct interests_room *room;
        struct interests_answer a;
        char why[256] = "";
        uint32_t history[2] = { 0, (uint32_t)(c->items.n - 1) };

        if (interests_room_create(c, &room) < 0)
                return;
        for (uint32_t user = 0; user < MIN(c->users.n, 4) + 1; user++) {
                struct interests_ask ask = { .user = user < c->users.n ? user : ID_MAP_NONE, .history = history, .n_history = 2, .wanted = 7,
                                             .keep_seen = user % 2 };

                if (interests_find(c, &c->settings, &ask, room, &a, why, sizeof why) == 0)
                        for (size_t i = 0; i < a.n; i++)
                                assert(a.item[i].item < c->items.n);
        }
        interests_room_destroy(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char manifest[] = "{\"kind\": \"pointsman.interests\", \"version\": 1, \"settings\": {\"interests\": 4, \"neighbours\": 3, "
                                       "\"own\": 0.5, \"near\": 1, \"also\": 1, \"votes\": 1, \"popular\": 1, \"self\": 1, \"sharpness\": 2, "
                                       "\"pool\": 200, \"budget\": 20}, \"files\": {\"" CATALOGUE_ARRAYS "\": {\"bytes\": %zu}}}";
        char text[1024], why[384] = "";
        struct catalogue *c = NULL;
        bool is_manifest = size > 0 && data[0] == 'm';

        if (!folder[0]) {
                (void)snprintf(folder, sizeof folder, "/tmp/fuzz-catalogue-XXXXXX");
                if (!mkdtemp(folder) || atexit(gone) != 0)
                        return 0;
        }
        (void)snprintf(text, sizeof text, manifest, size > 0 ? size - 1 : 0);
        if (!put(CATALOGUE_ARRAYS, size > 0 ? data + 1 : data, is_manifest || size == 0 ? 0 : size - 1) ||
            !put(CATALOGUE_MANIFEST, is_manifest ? (const char *)data + 1 : text, is_manifest ? size - 1 : strlen(text)))
                return 0;
        if (catalogue_open(folder, false, &c, why, sizeof why) == 0)
                answer(c);
        else
                assert(why[0]);
        catalogue_close(c);
        return 0;
}
