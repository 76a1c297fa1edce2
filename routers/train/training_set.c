/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows whose id the table of outcomes does not have are left out, and counted; so are prompts in which the encoder knows nothing.
 */
#include "training_set.h"

#include <math.h>
#include <stdatomic.h>

#include "arguments.h"
#include "base.h"
#include "chunks.h"
#include "digest.h"
#include "parallel.h"
#include "progress.h"

int training_set_missing(const char *command, const struct training_set_source *s)
{
        const struct jsonl_source *rows = &s->rows;

        if (!s->outcomes || (rows->path && rows->text && rows->label))
                return 0;
        return argument_missing(command, !rows->path ? "--in" : !rows->text ? "--text" : "--label");
}

/* An array that cannot grow stays, and is freed with the set. */
static bool resize(void *array, size_t room, size_t size)
{
        void *held, *more;

        memcpy(&held, array, sizeof held);
        more = reallocarray(held, room, size);
        if (more)
                memcpy(array, &more, sizeof more);
        return more != NULL;
}

static int grow(struct training_set *l)
{
        size_t room = l->room ? 2 * l->room : 1024;

        if (l->n < l->room)
                return 0;
        if (!resize(&l->texts, room, sizeof *l->texts) || !resize(&l->task, room, sizeof *l->task) ||
            !resize(&l->example_of, room, sizeof *l->example_of))
                return -ENOMEM;
        l->room = room;
        return 0;
}

static int add_prompt(struct training_set *l, const char *text, size_t task, size_t example_of)
{
        int r = grow(l);

        if (r < 0)
                return r;
        l->texts[l->n] = text ? strdup(text) : NULL;
        if (text && !l->texts[l->n])
                return -ENOMEM;
        l->task[l->n] = task;
        l->example_of[l->n++] = example_of;
        return 0;
}

static int add_expert(struct training_set *l, const char *name, struct training_expert **ret)
{
        for (size_t k = 0; k < l->n_experts; k++)
                if (strcmp(l->experts[k].name, name) == 0) {
                        *ret = &l->experts[k];
                        return 0;
                }
        if (l->n_experts == l->room_experts) {
                size_t room = l->room_experts ? 2 * l->room_experts : 64;
                struct training_expert *list = realloc(l->experts, room * sizeof *list);

                if (!list)
                        return -ENOMEM;
                l->experts = list;
                l->room_experts = room;
        }
        *ret = &l->experts[l->n_experts];
        **ret = (struct training_expert){ .name = strdup(name) };
        if (!(*ret)->name)
                return -ENOMEM;
        l->n_experts++;
        return 0;
}

/* ---- experts that are known by themselves --------------------------------------------------------------------------------- */

static int take_expert(void *ctx, json_t *line, char *why, size_t n)
{
        struct training_set *l = ctx;
        const char *name = json_string_value(json_object_get(line, "expert"));
        const char *instruction = json_string_value(json_object_get(line, "instruction"));
        json_t *examples = json_object_get(line, "examples");
        struct training_expert *e;
        int r = 0;

        if (!instruction)
                instruction = json_string_value(json_object_get(line, "description"));
        if (!name || !*name || !jsonl_is_name(name)) {
                (void)snprintf(why, n, "'expert' must be a name, without control characters");
                return -EINVAL;
        }
        if ((!instruction || !*instruction) && json_array_size(examples) == 0) {
                (void)snprintf(why, n, "expert '%s' has neither an 'instruction' (or 'description') nor 'examples'", name);
                return -EINVAL;
        }
        for (size_t i = 0; i < json_array_size(examples); i++)
                if (!json_is_string(json_array_get(examples, i))) {
                        (void)snprintf(why, n, "expert '%s': item %zu of 'examples' is not a text", name, i);
                        return -EINVAL;
                }
        if (add_expert(l, name, &e) < 0)
                return -ENOMEM;
        if (e->by_outcomes || (e->instruction && instruction)) {
                (void)snprintf(why, n, "expert '%s' is there already", name);
                return -EINVAL;
        }
        if (instruction && !(e->instruction = strdup(instruction)))
                return -ENOMEM;
        for (size_t i = 0; r == 0 && i < json_array_size(examples); i++)
                r = add_prompt(l, json_string_value(json_array_get(examples, i)), TRAINING_SET_NO_TASK, (size_t)(e - l->experts));
        return r;
}

/* ---- experts that are known by outcomes ----------------------------------------------------------------------------------- */

static int take_instruction(void *ctx, json_t *line, char *why, size_t n)
{
        struct training_set *l = ctx;
        const char *task = json_string_value(json_object_get(line, "task"));
        const char *instruction = json_string_value(json_object_get(line, "instruction"));

        if (!task || !instruction || !*instruction) {
                (void)snprintf(why, n, "wanted {\"task\": ..., \"instruction\": ...}");
                return -EINVAL;
        }
        for (size_t i = 0; i < l->rows.n_labels; i++)
                if (strcmp(l->rows.labels[i], task) == 0) {
                        free(l->task_instructions[i]);
                        l->task_instructions[i] = strdup(instruction);
                        return l->task_instructions[i] ? 0 : -ENOMEM;
                }
        return 0; /* of a task that is not asked for here */
}

static int read_outcomes(const struct training_set_source *s, struct training_set *l)
{
        size_t matched = 0;
        int r = outcomes_read(s->outcomes, s->columns, &l->table);

        if (r == 0)
                r = jsonl_read(&s->rows, &l->rows);
        if (r < 0)
                return r;
        l->task_instructions = calloc(l->rows.n_labels + 1, sizeof *l->task_instructions);
        if (!l->task_instructions)
                return -ENOMEM;
        if (s->instructions)
                r = jsonl_each(s->instructions, 0, take_instruction, l);
        for (size_t k = 0; r == 0 && k < l->table.n_experts; k++) {
                struct training_expert *e;

                r = add_expert(l, l->table.experts[k], &e);
                if (r == 0) {
                        e->by_outcomes = true;
                        e->column = k;
                }
        }
        for (size_t i = 0; r == 0 && i < l->rows.n; i++) {
                matched += outcomes_find(&l->table, l->rows.list[i].id) != NULL;
                r = add_prompt(l, NULL, l->rows.list[i].label, SIZE_MAX);
        }
        if (r == 0 && matched == 0) {
                (void)fprintf(stderr, "%s: none of its %zu ids is among those of %s\n", s->outcomes, l->table.n, s->rows.path);
                return -EINVAL;
        }
        if (r == 0 && matched < l->rows.n)
                (void)fprintf(stderr, "%s: %zu of %zu prompts have no outcome, ignoring them\n", s->rows.path, l->rows.n - matched, l->rows.n);
        return r;
}

float training_set_outcome(const struct training_set *l, size_t i, size_t k)
{
        const struct training_expert *e = &l->experts[k];
        const float *row;

        if (!e->by_outcomes)
                return l->example_of[i] == k ? 1 : NAN;
        row = i < l->rows.n ? outcomes_find(&l->table, l->rows.list[i].id) : NULL;
        return row ? row[e->column] : NAN;
}

const char *training_set_text(const struct training_set *l, size_t i, size_t *ret_n)
{
        const char *text = i < l->rows.n ? l->rows.list[i].text : l->texts[i];

        *ret_n = i < l->rows.n ? l->rows.list[i].n : strlen(text);
        return text;
}

/* ---- vectors -------------------------------------------------------------------------------------------------------------- */

int training_set_encode(const struct encoder *e, const char *text, float *ret)
{
        struct encoder_scratch *s = NULL;
        size_t n = strlen(text), tokens = 0;
        int r = encoder_needs_scratch(e) ? encoder_scratch_create(e, MAX(n, (size_t)ENCODER_TEXT_MIN), &s) : 0;

        if (r == 0)
                r = encoder_encode(e, s, text, n, MAX(n, (size_t)ENCODER_TEXT_MIN), ret, &tokens);
        encoder_scratch_destroy(s);
        return r < 0 ? r : tokens ? 0 : -EINVAL;
}

/* Of a block of prompts; errors are counted. */
struct encoding {
        struct training_set *l;
        struct chunk *chunks;
        atomic_size_t done;
        atomic_int error;
};

static void encode_some(void *ctx, size_t begin, size_t end)
{
        struct encoding *x = ctx;
        struct training_set *l = x->l;
        struct encoder_scratch *s = NULL;
        int r = encoder_needs_scratch(l->encoder) ? encoder_scratch_create(l->encoder, ENCODER_TEXT_MAX, &s) : 0;

        for (size_t i = begin; r == 0 && i < end; i++) {
                size_t n;
                const char *text = training_set_text(l, i, &n);

                r = encoder_encode(l->encoder, s, text, n, ENCODER_TEXT_MAX, l->whole + i * l->dim, NULL);
                for (size_t k = l->first[i]; r == 0 && k < l->first[i + 1]; k++)
                        r = encoder_encode(l->encoder, s, x->chunks[k].p, x->chunks[k].n, ENCODER_TEXT_MAX, l->parts + k * l->dim, NULL);
        }
        if (r < 0)
                x->error = r;
        x->done += end - begin;
        encoder_scratch_destroy(s);
}

static int encode_all(struct training_set *l, unsigned threads)
{
        struct encoding x = { .l = l };
        size_t room = l->n * 2 + TRAINING_SET_PARTS_MAX, used = 0;

        l->first = calloc(l->n + 1, sizeof *l->first);
        x.chunks = calloc(room, sizeof *x.chunks);
        if (!l->first || !x.chunks) {
                free(x.chunks);
                return -ENOMEM;
        }
        for (size_t i = 0; i < l->n; i++) {
                size_t n;
                const char *text = training_set_text(l, i, &n);

                if (used + TRAINING_SET_PARTS_MAX > room) {
                        struct chunk *more = realloc(x.chunks, 2 * room * sizeof *more);

                        if (!more) {
                                free(x.chunks);
                                return -ENOMEM;
                        }
                        x.chunks = more;
                        room *= 2;
                }
                used += chunks_split(text, n, l->window, x.chunks + used, TRAINING_SET_PARTS_MAX);
                l->first[i + 1] = used;
        }
        l->parts = calloc(used + 1, l->dim * sizeof *l->parts);
        l->whole = calloc(l->n + 1, l->dim * sizeof *l->whole);
        if (l->parts && l->whole)
                parallel_rows(threads, l->n, 256, encode_some, &x);
        else
                x.error = -ENOMEM;
        free(x.chunks);
        if (x.error)
                (void)fprintf(stderr, "the prompts could not be encoded: %s\n", ERRNO_TEXT(-x.error));
        return x.error;
}

int training_set_read(const struct training_set_source *s, const struct encoder *e, struct training_set *ret)
{
        struct training_set l = { .encoder = e, .dim = encoder_dim(e), .window = s->window };
        int r = s->outcomes ? read_outcomes(s, &l) : 0;

        if (r == 0 && s->experts)
                r = jsonl_each(s->experts, 0, take_expert, &l);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "out of memory for the prompts\n");
        if (r == 0)
                r = encode_all(&l, s->threads);
        if (r < 0)
                training_set_finish(&l);
        else
                *ret = l;
        return r;
}

int training_set_digest(const struct training_set *l, char hex[65])
{
        uint8_t sum[DIGEST_SIZE];
        struct digest d;
        int r;

        digest_begin(&d);
        for (size_t i = 0; i < l->n; i++) {
                size_t n;
                const char *text = training_set_text(l, i, &n);

                digest_add(&d, text, n);
                for (size_t k = 0; k < l->n_experts; k++) {
                        float y = training_set_outcome(l, i, k);

                        digest_add(&d, isnan(y) ? "-" : y > 0 ? "1" : "0", 1);
                }
        }
        for (size_t k = 0; k < l->n_experts; k++)
                if (l->experts[k].instruction)
                        digest_add(&d, l->experts[k].instruction, strlen(l->experts[k].instruction) + 1);
        r = digest_end(&d, sum);
        if (r == 0)
                digest_hex(sum, hex);
        return r;
}

void training_set_finish(struct training_set *l)
{
        for (size_t i = 0; l->texts && i < l->n; i++)
                free(l->texts[i]);
        for (size_t i = 0; l->task_instructions && i < l->rows.n_labels; i++)
                free(l->task_instructions[i]);
        for (size_t k = 0; k < l->n_experts; k++) {
                free(l->experts[k].name);
                free(l->experts[k].instruction);
        }
        free(TAKE(l->experts));
        free(TAKE(l->task_instructions));
        free(TAKE(l->texts));
        free(TAKE(l->task));
        free(TAKE(l->example_of));
        free(TAKE(l->first));
        free(TAKE(l->parts));
        free(TAKE(l->whole));
        jsonl_finish(&l->rows);
        outcomes_finish(&l->table);
        *l = (struct training_set){ 0 };
}
