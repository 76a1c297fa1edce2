/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines are read through zlib, which also reads plain files.  A line that is not usable is named and counted; above the limit
 * reading stops, for then it is probably the wrong file or the wrong field.
 */
#include <zlib.h>

#include "base.h"
#include "gzip.h"
#include "cleanup.h"
#include "digest.h"
#include "jsonl.h"
#include "progress.h"

#define NAMED_MAX 10 /* bad lines that get a message of their own */

int jsonl_where(void *source, const char *condition)
{
        struct jsonl_source *s = source;
        const char *equals = strchr(condition, '=');

        if (!equals || equals == condition || (equals == condition + 1 && *condition == '!')) {
                (void)fprintf(stderr, "--where '%s': must be FIELD=VALUE or FIELD!=VALUE\n", condition);
                return -EINVAL;
        }
        if (s->n_where == JSONL_WHERE_MAX) {
                (void)fprintf(stderr, "--where: at most %d conditions\n", JSONL_WHERE_MAX);
                return -EINVAL;
        }
        s->where[s->n_where++] = condition;
        return 0;
}

bool jsonl_is_name(const char *text)
{
        for (; *text; text++)
                if ((unsigned char)*text < 0x20 || *text == 0x7F)
                        return false;
        return true;
}

void jsonl_put(FILE *f, const char *text)
{
        for (; *text; text++)
                switch (*text) {
                case '\t': (void)fputs("\\t", f); break;
                case '\n': (void)fputs("\\n", f); break;
                case '\r': (void)fputs("\\r", f); break;
                case '\\': (void)fputs("\\\\", f); break;
                default: (void)fputc(*text, f);
                }
}

const char *jsonl_scalar(json_t *value, char buf[32])
{
        if (json_is_string(value))
                return json_string_value(value);
        if (json_is_integer(value))
                (void)snprintf(buf, 32, "%lld", (long long)json_integer_value(value));
        else if (json_is_real(value))
                (void)snprintf(buf, 32, "%.15g", json_real_value(value));
        else if (json_is_boolean(value))
                (void)snprintf(buf, 32, "%s", json_is_true(value) ? "true" : "false");
        else
                return NULL;
        return buf;
}

static bool condition_holds(json_t *line, const char *condition)
{
        const char *equals = strchr(condition, '='), *found;
        bool wanted = equals[-1] != '!';
        size_t n = (size_t)(equals - condition) - (wanted ? 0 : 1);
        char field[256], buf[32];

        (void)snprintf(field, sizeof field, "%.*s", (int)MIN(n, sizeof field - 1), condition);
        found = jsonl_scalar(json_object_get(line, field), buf);
        return (found && strcmp(found, equals + 1) == 0) == wanted;
}

/* ---- lines -------------------------------------------------------------------------------------------------------------- */

/* One line without its newline into *line, grown as needed; 1, 0 at the end, or -errno. */
static int read_line(gzFile f, char **line, size_t *room, size_t *ret_n)
{
        size_t n = 0;

        for (;;) {
                if (n + 2 > *room) {
                        size_t more = MAX(*room * 2, (size_t)4096);
                        char *grown = more > JSONL_LINE_MAX ? NULL : realloc(*line, more);

                        if (!grown)
                                return more > JSONL_LINE_MAX ? -EMSGSIZE : -ENOMEM;
                        *line = grown;
                        *room = more;
                }
                if (!gzgets(f, *line + n, (int)MIN(*room - n, (size_t)INT_MAX))) {
                        int error = Z_OK;

                        (void)gzerror(f, &error);
                        if (error != Z_OK && error != Z_STREAM_END)
                                return -EIO;
                        *ret_n = n;
                        return n > 0;
                }
                n += strlen(*line + n);
                if (n > 0 && (*line)[n - 1] == '\n') {
                        *ret_n = n - 1;
                        return 1;
                }
        }
}

int jsonl_lines(const char *path, int (*take)(void *ctx, char *line, size_t n, size_t number), void *ctx)
{
        bool piped = strcmp(path, "-") == 0;
        CLEANUP(gzclose_p) gzFile f = piped ? gzdopen(dup(STDIN_FILENO), "rb") : gzopen(path, "rb");
        CLEANUP(free_p) char *text = NULL;
        size_t room = 0, n = 0, number = 0;
        int r, taken = 0;

        if (!f) {
                r = errno ? -errno : -ENOMEM;
                (void)fprintf(stderr, "%s: cannot open: %s\n", path, ERRNO_TEXT(r));
                return r;
        }
        while (taken == 0 && (r = read_line(f, &text, &room, &n)) > 0) {
                number++;
                if (number % 1024 == 0 && !piped)
                        progress_show("reading", number, 0);
                text[n] = '\0';
                if (strspn(text, " \t\r") < n)
                        taken = take(ctx, text, n, number);
        }
        progress_done();
        if (taken < 0)
                return taken;
        if (r < 0)
                (void)fprintf(stderr, "%s:%zu: cannot read: %s\n", path, number + 1,
                              r == -EMSGSIZE ? "the line is longer than 16 MiB" : r == -EIO ? "damaged or cut gzip data" : ERRNO_TEXT(r));
        return r;
}

struct objects {
        const char *path;
        size_t max_bad, bad, lines;
        int (*take)(void *ctx, json_t *line, char *why, size_t why_size);
        void *ctx;
};

static int take_object(void *ctx, char *text, size_t n, size_t number)
{
        struct objects *x = ctx;
        char why[256] = "not a JSON object";
        json_error_t error;
        CLEANUP(json_p) json_t *line = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

        x->lines = number;
        if (!line)
                (void)snprintf(why, sizeof why, "invalid JSON at column %d: %.160s", error.column, error.text);
        if (json_is_object(line)) {
                int r = x->take(x->ctx, line, why, sizeof why);

                if (r >= 0)
                        return 0;
                if (r == -ENOMEM) {
                        (void)fprintf(stderr, "%s:%zu: cannot read: %s\n", x->path, number, ERRNO_TEXT(r));
                        return r;
                }
        }
        progress_done();
        if (++x->bad <= NAMED_MAX)
                (void)fprintf(stderr, "%s:%zu: %s, ignoring the line\n", x->path, number, why);
        if (x->bad <= x->max_bad)
                return 0;
        (void)fprintf(stderr, "%s: %zu unusable lines, at most %zu are allowed (--max-bad)\n", x->path, x->bad, x->max_bad);
        return -EINVAL;
}

int jsonl_each(const char *path, size_t max_bad, int (*take)(void *ctx, json_t *line, char *why, size_t why_size), void *ctx)
{
        struct objects x = { path, max_bad, 0, 0, take, ctx };
        int r = jsonl_lines(path, take_object, &x);

        if (r == 0 && x.bad > 0)
                (void)fprintf(stderr, "%s: %zu of %zu lines were unusable, ignoring them\n", path, x.bad, x.lines);
        return r;
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

struct jsonl_reading {
        const struct jsonl_source *source;
        struct jsonl_rows *rows;
};

static int add_lines(FILE *out, json_t *value, bool *ret_any)
{
        char buf[32];
        const char *text = jsonl_scalar(value, buf);
        json_t *item;
        size_t i;

        if (text) {
                (void)fprintf(out, "%s%s", *ret_any ? "\n" : "", text);
                *ret_any = true;
                return 0;
        }
        if (!json_is_array(value))
                return -EINVAL;
        json_array_foreach(value, i, item) {
                text = jsonl_scalar(item, buf);
                if (!text)
                        return -EINVAL;
                (void)fprintf(out, "%s%s", *ret_any ? "\n" : "", text);
                *ret_any = true;
        }
        return 0;
}

char *jsonl_text(json_t *line, const char *fields, size_t *ret_n, char *why, size_t why_size)
{
        char *text = NULL;
        bool any = false;
        int r = 0;
        FILE *out = open_memstream(&text, ret_n);

        if (!out)
                return NULL;
        for (const char *p = fields; r == 0 && *p; p += *p == ',') {
                size_t n = strcspn(p, ",");
                char field[256];

                (void)snprintf(field, sizeof field, "%.*s", (int)MIN(n, sizeof field - 1), p);
                r = add_lines(out, json_object_get(line, field), &any);
                if (r < 0)
                        (void)snprintf(why, why_size, "field '%.64s' is missing, or neither a text nor a list of texts", field);
                p += n;
        }
        (void)fclose(out);
        if (r < 0) {
                free(text);
                return NULL;
        }
        return text;
}

static int label_of(struct jsonl_rows *rows, const char *label, size_t *ret, char *why, size_t why_size)
{
        char **grown;

        for (size_t i = 0; i < rows->n_labels; i++)
                if (strcmp(rows->labels[i], label) == 0) {
                        *ret = i;
                        return 0;
                }
        if (!jsonl_is_name(label)) {
                (void)snprintf(why, why_size, "label '%.64s' has a tab, a newline or another control character, which fits into no line and no header", label);
                return -EINVAL;
        }
        if (rows->n_labels == JSONL_LABELS_MAX || !*label || strlen(label) > 200) {
                (void)snprintf(why, why_size, "label '%.64s' is empty, too long, or the %dth: is it the right field?", label,
                               JSONL_LABELS_MAX + 1);
                return -EINVAL;
        }
        grown = realloc(rows->labels, (rows->n_labels + 1) * sizeof *grown);
        if (!grown)
                return -ENOMEM;
        rows->labels = grown;
        grown[rows->n_labels] = strdup(label);
        if (!grown[rows->n_labels])
                return -ENOMEM;
        *ret = rows->n_labels++;
        return 0;
}

static int take_row(void *ctx, json_t *line, char *why, size_t why_size)
{
        struct jsonl_reading *x = ctx;
        const struct jsonl_source *s = x->source;
        struct jsonl_rows *rows = x->rows;
        CLEANUP(free_p) char *text = NULL;
        const char *label, *id = NULL;
        char buf[32], id_buf[32];
        struct jsonl_row row = { 0 };
        int r;

        for (size_t i = 0; i < s->n_where; i++)
                if (!condition_holds(line, s->where[i]))
                        return 0;
        label = jsonl_scalar(json_object_get(line, s->label), buf);
        if (!label) {
                (void)snprintf(why, why_size, "field '%.64s' is missing or not a text", s->label);
                return -EINVAL;
        }
        if (s->id && !(id = jsonl_scalar(json_object_get(line, s->id), id_buf))) {
                (void)snprintf(why, why_size, "field '%.64s' is missing or not a text", s->id);
                return -EINVAL;
        }
        text = jsonl_text(line, s->text, &row.n, why, why_size);
        if (!text)
                return -EINVAL;
        r = label_of(rows, label, &row.label, why, why_size);
        if (r < 0)
                return r;
        if (rows->n == rows->room) {
                size_t room = MAX(rows->room * 2, (size_t)1024);
                struct jsonl_row *grown = realloc(rows->list, room * sizeof *grown);

                if (!grown)
                        return -ENOMEM;
                rows->list = grown;
                rows->room = room;
        }
        if (id && !(row.id = strdup(id)))
                return -ENOMEM;
        row.text = TAKE(text);
        rows->list[rows->n++] = row;
        return 0;
}

static int by_name(const void *a, const void *b)
{
        const char *const *x = a, *const *y = b;

        return strcmp(*x, *y);
}

/* Sorted labels: the model does not depend on which label came first. */
static int sort_labels(struct jsonl_rows *r)
{
        CLEANUP(free_p) char **before = calloc(r->n_labels + 1, sizeof *before);
        CLEANUP(free_p) size_t *place = calloc(r->n_labels + 1, sizeof *place);

        if (!before || !place)
                return -ENOMEM;
        memcpy(before, r->labels, r->n_labels * sizeof *before);
        qsort(r->labels, r->n_labels, sizeof *r->labels, by_name);
        for (size_t i = 0; i < r->n_labels; i++)
                for (size_t k = 0; k < r->n_labels; k++)
                        if (before[i] == r->labels[k])
                                place[i] = k;
        for (size_t i = 0; i < r->n; i++)
                r->list[i].label = place[r->list[i].label];
        return 0;
}

int jsonl_read(const struct jsonl_source *s, struct jsonl_rows *ret)
{
        struct jsonl_rows rows = { 0 };
        struct jsonl_reading x = { s, &rows };
        int r = jsonl_each(s->path, s->max_bad, take_row, &x);

        if (r == 0 && rows.n == 0) {
                (void)fprintf(stderr, "%s: no line is left%s\n", s->path, s->n_where ? " that --where lets through" : "");
                r = -ENODATA;
        }
        if (r == 0)
                r = sort_labels(&rows);
        if (r < 0)
                jsonl_finish(&rows);
        else
                *ret = rows;
        return r;
}

void jsonl_finish(struct jsonl_rows *r)
{
        for (size_t i = 0; i < r->n; i++) {
                free(r->list[i].text);
                free(r->list[i].id);
        }
        for (size_t i = 0; i < r->n_labels; i++)
                free(r->labels[i]);
        free(r->list);
        free(r->labels);
        *r = (struct jsonl_rows){ 0 };
}

size_t jsonl_drop(struct jsonl_rows *r, const char *label)
{
        size_t gone = 0, kept = 0;

        while (label && gone < r->n_labels && strcmp(r->labels[gone], label) != 0)
                gone++;
        if (!label || gone == r->n_labels)
                return 0;
        for (size_t i = 0; i < r->n; i++) {
                if (r->list[i].label == gone) {
                        free(r->list[i].text);
                        free(r->list[i].id);
                        continue;
                }
                r->list[kept] = r->list[i];
                r->list[kept++].label -= r->list[i].label > gone;
        }
        free(r->labels[gone]);
        memmove(r->labels + gone, r->labels + gone + 1, (r->n_labels - gone - 1) * sizeof *r->labels);
        r->n_labels--;
        gone = r->n - kept;
        r->n = kept;
        return gone;
}

int jsonl_digest(const struct jsonl_rows *rows, char hex[65])
{
        uint8_t sum[DIGEST_SIZE];
        struct digest d;
        int r;

        digest_begin(&d);
        for (size_t i = 0; i < rows->n; i++) {
                digest_add(&d, rows->list[i].text, rows->list[i].n + 1);
                digest_add(&d, rows->labels[rows->list[i].label], strlen(rows->labels[rows->list[i].label]) + 1);
        }
        r = digest_end(&d, sum);
        if (r == 0)
                digest_hex(sum, hex);
        return r;
}

int jsonl_part(const struct jsonl_row *row, unsigned seed, unsigned parts, unsigned *ret)
{
        uint8_t sum[DIGEST_SIZE];
        struct digest d;
        char salt[32];
        int r;

        (void)snprintf(salt, sizeof salt, "%u:", seed);
        digest_begin(&d);
        digest_add(&d, salt, strlen(salt));
        digest_add(&d, row->text, row->n);
        r = digest_end(&d, sum);
        if (r == 0)
                *ret = ((unsigned)sum[0] << 16 | (unsigned)sum[1] << 8 | sum[2]) % parts;
        return r;
}
