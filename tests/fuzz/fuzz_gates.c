/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an instruct model, and as what a language model says: refused with a sentence, or used without harm. */
#include <math.h>
#include <unistd.h>

#include "base.h"
#include "gates.h"
#include "instruction.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct gates *g)
{
        const struct gates_parts *p = gates_parts(g);
        CLEANUP(free_p) float *vector = calloc(2 * p->dim, sizeof *vector), *scores = calloc(2 * p->experts, sizeof *scores);

        assert(vector && scores);
        for (size_t i = 0; i < 2 * p->dim; i++)
                vector[i] = (float)(i % 7) / 7;
        gates_local(g, p->combine, vector, 2, scores);
        (void)gates_global(g, vector, scores + p->experts, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char name[] = "/tmp/fuzz-gates-XXXXXX", why[256] = "", sentence[INSTRUCTION_MAX + 1];
        int fd = mkstemp(name);
        struct gates *g = NULL;

        assert(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
        if (gates_open(name, &g, why, sizeof why) == 0)
                use(g);
        else
                assert(why[0] && !g);
        gates_destroy(g);
        (void)unlink(name);
        if (instruction_read((const char *)data, size, sentence, why, sizeof why) == 0)
                assert(strlen(sentence) >= 2 * INSTRUCTION_WORDS_MIN - 1);
        return 0;
}
