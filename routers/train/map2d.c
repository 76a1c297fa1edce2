/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointsman-train map2d: prompts of several categories in a plane, as an encoder sees them, for people to look at.
 *
 * Every category gives as many prompts as the others, spread over the file; each is a dot in its category's colour, with its text as
 * the tooltip, and a category's name stands where its dots are densest: it may have several places.
 */
#include <math.h>

#include "arguments.h"
#include "base.h"
#include "commands.h"
#include "encoder.h"
#include "jsonl.h"
#include "progress.h"
#include "tsne.h"

#define SIDE 900.
#define MARGIN 30.
#define LEGEND 260.
#define LINE 22.
#define TOOLTIP_MAX 160
#define CATEGORIES_MAX 40
#define NEIGHBOURS ((size_t)20) /* a name stands where so many are nearest */

struct map2d_task {
        struct jsonl_source in;
        const char *folder, *out;
        double perplexity;
        size_t most;
        struct jsonl_rows rows;
        struct encoder *encoder;
        size_t *drawn, n;      /* rows that are drawn */
        float *vectors;
        double (*at)[2];
};

static const struct argument table[] = {
        ARGUMENT_TEXT(struct map2d_task, folder, "encoder", "FOLDER", PM_REQUIRED, NULL,
                      "a static model (configs/models/pointsman-static)"),
        ARGUMENT_TEXT(struct map2d_task, in.path, "in", "FILE", PM_REQUIRED, NULL,
                      "prompts, one JSON object a line; gzip'd or plain"),
        ARGUMENT_TEXT(struct map2d_task, in.text, "text", "FIELD,...", PM_REQUIRED, NULL, "what the prompt is"),
        ARGUMENT_TEXT(struct map2d_task, in.label, "label", "FIELD", PM_REQUIRED, NULL,
                      "its category: at most 40 different ones"),
        JSONL_ARGUMENT_WHERE(struct map2d_task, in),
        ARGUMENT_NUMBER(struct map2d_task, most, "most", "1500", 10, TSNE_MAX,
                        "prompts that are drawn; time grows with the square"),
        ARGUMENT_REAL(struct map2d_task, perplexity, "perplexity", "30", 2, 200, "how many neighbours a prompt has"),
        JSONL_ARGUMENT_MAX_BAD(struct map2d_task, in.max_bad, "100"),
        ARGUMENT_OUTPUT(struct map2d_task, out, "out", "FILE", PM_REQUIRED, ARGUMENT_WRITTEN, "an SVG picture"),
        ARGUMENT_END,
};

static const struct arguments arguments = { .command = "map2d", .table = table, .note = "The same input gives the same picture." };

/* As many of each category as of the others, evenly over the file. */
static int choose(struct map2d_task *t)
{
        size_t each = MAX(t->most / t->rows.n_labels, (size_t)1);
        CLEANUP(free_p) size_t *have = calloc(t->rows.n_labels, sizeof *have), *seen = calloc(t->rows.n_labels, sizeof *seen);

        t->drawn = calloc(t->most + 1, sizeof *t->drawn);
        if (!t->drawn || !have || !seen)
                return -ENOMEM;
        for (size_t i = 0; i < t->rows.n; i++)
                have[t->rows.list[i].label]++;
        for (size_t i = 0; i < t->rows.n && t->n < t->most; i++) {
                size_t label = t->rows.list[i].label, k = seen[label]++, n = have[label];

                if (n <= each || k * each / n != (k + 1) * each / n)
                        t->drawn[t->n++] = i;
        }
        return 0;
}

static int encode_all(struct map2d_task *t)
{
        size_t dim = encoder_dim(t->encoder), kept = 0;
        struct encoder_scratch *s = NULL;
        int r = encoder_scratch_create(t->encoder, 65536, &s);

        t->vectors = calloc(t->n * dim + 1, sizeof *t->vectors);
        t->at = calloc(t->n + 1, sizeof *t->at);
        if (!t->vectors || !t->at)
                r = -ENOMEM;
        for (size_t i = 0; r == 0 && i < t->n; i++) {
                const struct jsonl_row *row = &t->rows.list[t->drawn[i]];
                float *v = t->vectors + kept * dim;
                double length = 0;

                if (encoder_encode(t->encoder, s, row->text, row->n, 0, v, NULL) < 0)
                        continue;
                for (size_t d = 0; d < dim; d++)
                        length += (double)v[d] * (double)v[d];
                for (size_t d = 0; d < dim; d++)
                        v[d] = (float)((double)v[d] / sqrt(fmax(length, 1e-30)));
                if (length > 0) /* a text without tokens has no place */
                        t->drawn[kept++] = t->drawn[i];
        }
        t->n = kept;
        encoder_scratch_destroy(s);
        return r;
}

/* ---- the picture --------------------------------------------------------------------------------------------------------- */

/* Colours that lie apart: a hue each, light and dark in turns. */
static void colour(size_t i, size_t n, char out[8])
{
        double hue = 6 * (double)i / (double)n, low = i % 2 ? 40 : 20, high = i % 2 ? 165 : 225, part = hue - floor(hue);
        double up = low + (high - low) * part, down = high - (high - low) * part;
        double rgb[6][3] = { { high, up, low }, { down, high, low }, { low, high, up }, { low, down, high }, { up, low, high }, { high, low, down } };
        const double *c = rgb[(size_t)hue % 6];

        (void)snprintf(out, 8, "#%02x%02x%02x", (unsigned)c[0] & 0xff, (unsigned)c[1] & 0xff, (unsigned)c[2] & 0xff);
}

/* Text as XML: marks escaped, controls as blanks, cut between characters. */
static void put_text(FILE *f, const char *text, size_t n, size_t most)
{
        if (n > most) {
                n = most;
                while (n > 0 && (text[n] & 0xc0) == 0x80)
                        n--;
        }
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)text[i];

                if (c == '&' || c == '<' || c == '>' || c == '"')
                        (void)fprintf(f, "&#%u;", c);
                else
                        (void)fputc(c < ' ' || c == 127 ? ' ' : c, f);
        }
}

static int by_size(const void *a, const void *b)
{
        const double *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

/* The dot of a category that has others of it nearest; false: it has none. */
static bool densest(const struct map2d_task *t, size_t label, double *room, double ret[2])
{
        double best = INFINITY;

        for (size_t i = 0; i < t->n; i++) {
                size_t n = 0;

                if (t->rows.list[t->drawn[i]].label != label)
                        continue;
                for (size_t k = 0; k < t->n; k++)
                        if (t->rows.list[t->drawn[k]].label == label)
                                room[n++] = hypot(t->at[i][0] - t->at[k][0], t->at[i][1] - t->at[k][1]);
                qsort(room, n, sizeof *room, by_size);
                if (room[MIN(n - 1, NEIGHBOURS)] < best) {
                        best = room[MIN(n - 1, NEIGHBOURS)];
                        memcpy(ret, t->at[i], sizeof t->at[i]);
                }
        }
        return isfinite(best);
}

/* Into the square of the picture. */
static void fit_in(struct map2d_task *t)
{
        double low[2] = { INFINITY, INFINITY }, high[2] = { -INFINITY, -INFINITY };

        for (size_t i = 0; i < t->n; i++)
                for (int c = 0; c < 2; c++) {
                        low[c] = fmin(low[c], t->at[i][c]);
                        high[c] = fmax(high[c], t->at[i][c]);
                }
        for (size_t i = 0; i < t->n; i++)
                for (int c = 0; c < 2; c++)
                        t->at[i][c] = MARGIN + (t->at[i][c] - low[c]) / fmax(high[c] - low[c], 1e-9) * (SIDE - 2 * MARGIN);
}

static void put_label(FILE *f, double x, double y, const char *more, const char *text)
{
        (void)fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, more);
        put_text(f, text, strlen(text), 60);
        (void)fprintf(f, "</text>\n");
}

static void draw(const struct map2d_task *t, FILE *f, double *room)
{
        double height = fmax(SIDE, 2 * MARGIN + LINE * (double)t->rows.n_labels), at[2];
        char tint[8];

        (void)fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
                         "font-family=\"sans-serif\" font-size=\"14\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
                      SIDE + LEGEND, height, SIDE + LEGEND, height);
        for (size_t i = 0; i < t->n; i++) {
                const struct jsonl_row *row = &t->rows.list[t->drawn[i]];

                colour(row->label, t->rows.n_labels, tint);
                (void)fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\" fill-opacity=\"0.7\"><title>", t->at[i][0], t->at[i][1], tint);
                put_text(f, row->text, row->n, TOOLTIP_MAX);
                (void)fprintf(f, "</title></circle>\n");
        }
        for (size_t c = 0; c < t->rows.n_labels; c++) {
                double y = MARGIN + LINE * (double)c;

                colour(c, t->rows.n_labels, tint);
                (void)fprintf(f, "<circle cx=\"%.0f\" cy=\"%.1f\" r=\"6\" fill=\"%s\"/>\n", SIDE + 20, y, tint);
                put_label(f, SIDE + 34, y + 5, "fill=\"#222222\"", t->rows.labels[c]);
                if (densest(t, c, room, at))
                        put_label(f, at[0], at[1], "text-anchor=\"middle\" font-weight=\"bold\" fill=\"#111111\" stroke=\"#ffffff\" "
                                                   "stroke-width=\"3\" paint-order=\"stroke\"", t->rows.labels[c]);
        }
        (void)fprintf(f, "</svg>\n");
}

static void show(size_t round, size_t rounds)
{
        progress_show("spreading", round, rounds);
}

static int write_picture(const struct map2d_task *t)
{
        CLEANUP(free_p) double *room = calloc(t->n, sizeof *room);
        FILE *f = fopen(t->out, "we");
        bool bad;

        if (!room) {
                if (f)
                        (void)fclose(f);
                return -ENOMEM;
        }
        if (f) {
                draw(t, f, room);
                bad = ferror(f) != 0;
                if (fclose(f) == 0 && !bad) {
                        (void)printf("%s: %zu prompts of %zu categories\n", t->out, t->n, t->rows.n_labels);
                        return 0;
                }
        }
        (void)fprintf(stderr, "%s: cannot write: %s\n", t->out, ERRNO_TEXT(errno));
        return -EIO;
}

static int make_picture(struct map2d_task *t)
{
        char why[256];
        int r = encoder_open(t->folder, &t->encoder, why, sizeof why);

        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", t->folder, why);
                return r;
        }
        r = jsonl_read(&t->in, &t->rows);
        if (r < 0)
                return r;
        if (t->rows.n_labels > CATEGORIES_MAX) {
                (void)fprintf(stderr, "%s: %zu categories, more than %d colours cannot be told apart: choose some by --where\n", t->in.path,
                              t->rows.n_labels, CATEGORIES_MAX);
                return -EINVAL;
        }
        r = choose(t);
        if (r == 0)
                r = encode_all(t);
        if (r == 0 && t->n < 4) {
                (void)fprintf(stderr, "%s: %zu prompts with text are too few to draw\n", t->in.path, t->n);
                r = -EINVAL;
        }
        if (r == 0)
                r = tsne(t->vectors, t->n, encoder_dim(t->encoder), t->perplexity, show, t->at);
        progress_done();
        if (r < 0)
                return r;
        fit_in(t);
        return write_picture(t);
}

int command_map2d(int argc, char **argv)
{
        struct map2d_task t = { 0 };
        int r = arguments_read(&arguments, argc, argv, &t);

        if (r != 0)
                return r - 1;
        r = make_picture(&t);
        if (r == -ENOMEM)
                (void)fprintf(stderr, "map2d: out of memory\n");
        jsonl_finish(&t.rows);
        encoder_destroy(t.encoder);
        free(t.drawn);
        free(t.vectors);
        free(t.at);
        return r < 0;
}
