/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file's first line settles what it is: JSON begins with '{', a table has tabs or else commas.  Titles are those that were asked for,
 * or the usual ones; a table without titles has its columns in the usual order.
 */
#include <jansson.h>
#include <math.h>

#include "base.h"
#include "error.h"
#include "graph_line.h"

static const char *const usual[GRAPH_FIELDS][6] = {
        [GRAPH_USER] = { "user", "user_id", "src", "source", "from", NULL },
        [GRAPH_ITEM] = { "item", "item_id", "dst", "target", "to", NULL },
        [GRAPH_WEIGHT] = { "weight", "rating", "count", NULL },
        [GRAPH_TIME] = { "time", "timestamp", NULL },
        [GRAPH_SPLIT] = { "split", "part", NULL },
};

static const char *const field_names[GRAPH_FIELDS] = { "user", "item", "weight", "time", "split" };

/* Where the sums of many and the products of two still are numbers of a double.  Below: any weight above 0 is one, and counts as that. */
#define WEIGHT_MIN 1e-30
#define WEIGHT_MAX 1e30

struct cell {
        const char *p;
        size_t n;
};

/* ---- layout ------------------------------------------------------------------------------------------------------------- */

static bool column_number(const char *name, int *ret)
{
        char *end;
        long n = strtol(name, &end, 10);

        if (*end || end == name || n < 1 || n > GRAPH_COLUMNS_MAX)
                return false;
        *ret = (int)n - 1;
        return true;
}

int graph_layout_begin(struct graph_layout *x, const struct graph_source *s, char *why, size_t why_size)
{
        const char *const asked[GRAPH_FIELDS] = { s->user, s->item, s->weight, s->time, s->split };

        *x = (struct graph_layout){ .format = s->format };
        for (size_t f = 0; f < GRAPH_FIELDS; f++) {
                x->column[f] = -1;
                x->field[f] = asked[f];
                if (asked[f] && !*asked[f])
                        return set_error(why, why_size, "the column for '%s' has an empty name", field_names[f]);
        }
        return 0;
}

static bool utf8_valid(const char *text, size_t n)
{
        const unsigned char *p = (const unsigned char *)text, *end = p + n;

        while (p < end) {
                unsigned c = *p++, more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
                uint32_t point = more == 0 ? c : c & (0x3fu >> more);

                if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || (size_t)(end - p) < more)
                        return false;
                for (unsigned i = 0; i < more; i++, p++) {
                        if ((*p & 0xc0) != 0x80)
                                return false;
                        point = point << 6 | (*p & 0x3f);
                }
                if ((more == 2 && point < 0x800) || (more == 3 && (point < 0x10000 || point > 0x10ffff)) ||
                    (point >= 0xd800 && point <= 0xdfff) || point < 0x20 || point == 0x7f)
                        return false; /* control characters too: an id goes out in lines and in JSON */
        }
        return true;
}

/* Takes a table's line apart in place; below 0 if it has too many columns or an open quote. */
static int take_apart(char *line, size_t n, char separator, struct cell *cell, char *why, size_t why_size)
{
        char *p = line, *end = line + n;
        int count = 0;

        for (;;) {
                char *to = p, *begin = p;

                if (count == GRAPH_COLUMNS_MAX)
                        return set_error(why, why_size, "more than %d columns", GRAPH_COLUMNS_MAX);
                if (separator == ',' && p < end && *p == '"') {
                        begin = to = ++p;
                        while (p < end && (*p != '"' || (p + 1 < end && p[1] == '"'))) {
                                p += *p == '"';
                                *to++ = *p++;
                        }
                        if (p == end)
                                return set_error(why, why_size, "column %d has a quote that does not end", count + 1);
                        if (++p < end && *p != separator)
                                return set_error(why, why_size, "column %d goes on behind its closing quote", count + 1);
                } else {
                        while (p < end && *p != separator)
                                p++;
                        to = p;
                }
                cell[count++] = (struct cell){ begin, (size_t)(to - begin) };
                if (p >= end)
                        return count;
                p++;
        }
}

static bool is_called(const struct cell *c, const char *name)
{
        return strlen(name) == c->n && strncasecmp(c->p, name, c->n) == 0;
}

/* Finds the columns by their titles.  True if this line is one of titles. */
static bool read_titles(struct graph_layout *x, const struct cell *cell, int n)
{
        int found[GRAPH_FIELDS];

        for (size_t f = 0; f < GRAPH_FIELDS; f++) {
                found[f] = -1;
                for (int i = 0; i < n && found[f] < 0; i++) {
                        if (x->field[f] && is_called(&cell[i], x->field[f]))
                                found[f] = i;
                        for (size_t u = 0; !x->field[f] && usual[f][u]; u++)
                                if (is_called(&cell[i], usual[f][u]))
                                        found[f] = i;
                }
        }
        if (found[GRAPH_USER] < 0 || found[GRAPH_ITEM] < 0)
                return false;
        memcpy(x->column, found, sizeof found);
        return true;
}

/* Without titles: numbers that were asked for, else the usual order.  -ENOENT: what was asked for is nowhere; no line will do. */
static int columns_by_place(struct graph_layout *x, int n, char *why, size_t why_size)
{
        bool named = false;

        memset(x->column, 0xff, sizeof x->column);
        for (size_t f = 0; f < GRAPH_FIELDS; f++)
                named = named || x->field[f];
        for (size_t f = 0; f < GRAPH_FIELDS; f++) {
                if (x->field[f] && !column_number(x->field[f], &x->column[f])) {
                        (void)set_error(why, why_size, "no column '%.64s': the first line is not one of titles that has it", x->field[f]);
                        return -ENOENT;
                }
                if (!x->field[f] && (!named || f <= GRAPH_ITEM) && (int)f < n)
                        x->column[f] = (int)f;
        }
        if (x->column[GRAPH_USER] < 0 || x->column[GRAPH_ITEM] < 0)
                return set_error(why, why_size, "has %d column, a user and an item were expected", n);
        return 0;
}

/* Numbers hold with and without titles. */
static void columns_by_number(struct graph_layout *x)
{
        for (size_t f = 0; f < GRAPH_FIELDS; f++)
                if (x->field[f])
                        (void)column_number(x->field[f], &x->column[f]);
}

/* ---- values ------------------------------------------------------------------------------------------------------------- */

static int take_id(const struct cell *c, const char *what, const char **ret, size_t *ret_n, char *why, size_t why_size)
{
        if (c->n == 0)
                return set_error(why, why_size, "the %s is empty", what);
        if (c->n > ID_MAP_LENGTH_MAX)
                return set_error(why, why_size, "the %s is %zu bytes long, at most %d are read", what, c->n, ID_MAP_LENGTH_MAX);
        if (!utf8_valid(c->p, c->n))
                return set_error(why, why_size, "the %s is not UTF-8 text without control characters", what);
        *ret = c->p;
        *ret_n = c->n;
        return 0;
}

/* The whole cell as a number; false if it is none. */
static bool take_number(const struct cell *c, double *ret)
{
        char text[64], *end;

        if (c->n == 0 || c->n >= sizeof text)
                return false;
        memcpy(text, c->p, c->n);
        text[c->n] = '\0';
        *ret = strtod(text, &end);
        return end == text + c->n;
}

static int take_weight(const struct cell *c, float *ret, char *why, size_t why_size)
{
        double x;

        if (!take_number(c, &x) || !(x > 0 && x <= WEIGHT_MAX))
                return set_error(why, why_size, "weight '%.*s' is not a number above 0, up to 1e30", (int)MIN(c->n, (size_t)40), c->p);
        *ret = (float)MAX(x, WEIGHT_MIN);
        return 0;
}

static int take_time(const struct cell *c, int64_t *ret, char *why, size_t why_size)
{
        char text[32], *end;
        long long whole;
        double x;

        if (c->n > 0 && c->n < sizeof text) { /* whole numbers exactly, all of 64 bits: what /v1/feedback has taken is read */
                memcpy(text, c->p, c->n);
                text[c->n] = '\0';
                errno = 0;
                whole = strtoll(text, &end, 10);
                if (errno == 0 && end == text + c->n) {
                        *ret = whole;
                        return 0;
                }
        }
        if (!take_number(c, &x) || !(fabs(x) < 9.2e18))
                return set_error(why, why_size, "time '%.*s' is not a number within 64 bits", (int)MIN(c->n, (size_t)40), c->p);
        *ret = (int64_t)x;
        return 0;
}

static int take_fields(const struct cell *const *found, struct graph_row *ret, char *why, size_t why_size)
{
        struct graph_row row = { .weight = 1, .split = "" };

        if (take_id(found[GRAPH_USER], "user", &row.user, &row.user_n, why, why_size) < 0 ||
            take_id(found[GRAPH_ITEM], "item", &row.item, &row.item_n, why, why_size) < 0 ||
            (found[GRAPH_WEIGHT] && take_weight(found[GRAPH_WEIGHT], &row.weight, why, why_size) < 0) ||
            (found[GRAPH_TIME] && take_time(found[GRAPH_TIME], &row.time, why, why_size) < 0))
                return -EINVAL;
        if (found[GRAPH_SPLIT]) {
                row.split = found[GRAPH_SPLIT]->p;
                row.split_n = found[GRAPH_SPLIT]->n;
                if (row.split_n > 32 || !utf8_valid(row.split, row.split_n))
                        return set_error(why, why_size, "the split is not a name of at most 32 bytes");
        }
        *ret = row;
        return 1;
}

/* ---- lines -------------------------------------------------------------------------------------------------------------- */

static int table_line(struct graph_layout *x, char *line, size_t n, struct graph_row *ret, char *why, size_t why_size)
{
        const struct cell *found[GRAPH_FIELDS] = { NULL };
        struct cell cell[GRAPH_COLUMNS_MAX];
        bool remark = !x->settled && *line == '#';
        int count, r;

        if (remark)
                while (n > 0 && (*line == '#' || *line == ' ')) {
                        line++;
                        n--;
                }
        count = take_apart(line, n, x->format == GRAPH_TSV ? '\t' : ',', cell, why, why_size);
        if (count < 0)
                return remark ? 0 : count;
        if (!x->settled) {
                if (read_titles(x, cell, count)) {
                        columns_by_number(x);
                        x->settled = true;
                        return 0;
                }
                if (remark)
                        return 0;
                r = columns_by_place(x, count, why, why_size);
                if (r < 0)
                        return r;
                x->settled = true;
        }
        for (size_t f = 0; f < GRAPH_FIELDS; f++) {
                if (x->column[f] < 0)
                        continue;
                if (x->column[f] >= count)
                        return set_error(why, why_size, "has %d columns, the %s is in column %d", count, field_names[f], x->column[f] + 1);
                found[f] = &cell[x->column[f]];
        }
        return take_fields(found, ret, why, why_size);
}

static void number_cell(json_t *value, char *room, size_t size, struct cell *ret)
{
        if (json_is_integer(value))
                (void)snprintf(room, size, "%lld", (long long)json_integer_value(value));
        else
                (void)snprintf(room, size, "%.17g", json_real_value(value));
        *ret = (struct cell){ room, strlen(room) };
}

static int json_line(struct graph_layout *x, const char *line, size_t n, json_t **json, struct graph_row *ret, char *why, size_t why_size)
{
        const struct cell *found[GRAPH_FIELDS] = { NULL };
        struct cell cell[GRAPH_FIELDS];
        json_error_t error;

        *json = json_loadb(line, n, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(*json))
                return set_error(why, why_size, *json ? "not a JSON object" : "invalid JSON at column %d: %.120s", error.column, error.text);
        x->settled = true;
        for (size_t f = 0; f < GRAPH_FIELDS; f++) {
                json_t *value = x->field[f] ? json_object_get(*json, x->field[f]) : NULL;

                for (size_t u = 0; !x->field[f] && !value && usual[f][u]; u++)
                        value = json_object_get(*json, usual[f][u]);
                if (!value || json_is_null(value)) {
                        if (f <= GRAPH_ITEM || x->field[f])
                                return set_error(why, why_size, "no field '%.64s'", x->field[f] ? x->field[f] : field_names[f]);
                        continue;
                }
                if (json_is_string(value)) {
                        cell[f] = (struct cell){ json_string_value(value), json_string_length(value) };
                } else if (json_is_number(value)) {
                        number_cell(value, x->number[f], sizeof x->number[f], &cell[f]);
                } else {
                        return set_error(why, why_size, "field of the %s is neither a text nor a number", field_names[f]);
                }
                found[f] = &cell[f];
        }
        return take_fields(found, ret, why, why_size);
}

static enum graph_format format_of(const char *line, size_t n)
{
        return *line == '{' ? GRAPH_JSONL : memchr(line, '\t', n) ? GRAPH_TSV : memchr(line, ',', n) ? GRAPH_CSV : GRAPH_AUTO;
}

static bool is_blank(const char *line, size_t n)
{
        size_t blank = 0;

        while (blank < n && (line[blank] == ' ' || line[blank] == '\t'))
                blank++;
        return blank == n;
}

int graph_line(struct graph_layout *x, char *line, size_t n, json_t **json, struct graph_row *ret, char *why, size_t why_size)
{
        if (n > 0 && line[n - 1] == '\r')
                n--;
        if (is_blank(line, n))
                return 0;
        if (x->format == GRAPH_AUTO) {
                enum graph_format found = format_of(line, n);

                if (found == GRAPH_AUTO && *line == '#')
                        return 0;
                if (found == GRAPH_AUTO)
                        return set_error(why, why_size, "neither JSON nor columns separated by tabs or commas");
                if (*line == '#') { /* a remark with a comma in it does not settle the format */
                        struct graph_layout as = *x;
                        int r;

                        as.format = found;
                        r = table_line(&as, line, n, ret, why, why_size);
                        if (as.settled)
                                *x = as;
                        return r;
                }
                x->format = found;
        }
        return x->format == GRAPH_JSONL ? json_line(x, line, n, json, ret, why, why_size)
                                        : table_line(x, line, n, ret, why, why_size);
}
