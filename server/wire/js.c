/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader goes over each byte once.  Nesting is a bit for each open bracket, so no recursion and no memory; strings, which are
 * most of what chat clients send, are passed over eight bytes at a time until something needs a look: a quote, a backslash, a
 * control character or a byte above ASCII.
 */
#include "js.h"
#include "utf8.h"

#include "arena.h"
#include "base.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "take_string() finds the first of eight bytes in the lowest one");
#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

void js_start(struct js *j, struct pm_str text, size_t depth)
{
        assert(depth <= 512);
        *j = (struct js){ .at = text.p, .start = text.p, .end = text.n ? text.p + text.n : text.p, .max = (unsigned)depth };
}

static bool fail(struct js *j, int error, const char *why)
{
        if (!j->error) {
                j->error = error;
                j->why = why;
        }
        return false;
}

static inline bool is_space(char c)
{
        return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline void skip_space(struct js *j)
{
        while (j->at < j->end && is_space(*j->at))
                j->at++;
}

static inline unsigned char next_byte(const struct js *j)
{
        return j->at < j->end ? (unsigned char)*j->at : 0;
}

bool js_utf8(struct pm_str text)
{
        size_t at = 0, n;
        uint64_t v;

        while (at < text.n) {
                if (text.n - at >= sizeof v && (memcpy(&v, text.p + at, sizeof v), (v & HIGHS) == 0)) {
                        at += sizeof v; /* all ASCII */
                        continue;
                }
                n = (unsigned char)text.p[at] < 0x80 ? 1 : utf8_length((const unsigned char *)text.p + at, text.n - at);
                if (n == 0)
                        return false;
                at += n;
        }
        return true;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool escape_ok(struct js *j)
{
        if (j->end - j->at < 2)
                return fail(j, -EINVAL, "the text ends inside a string");
        switch (j->at[1]) {
        case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
                j->at += 2;
                return true;
        case 'u':
                if (j->end - j->at < 6)
                        return fail(j, -EINVAL, "the text ends inside a string");
                for (int i = 2; i < 6; i++)
                        if (hex_value(j->at[i]) < 0)
                                return fail(j, -EINVAL, "\\u needs four hexadecimal digits");
                j->at += 6;
                return true;
        default:
                return fail(j, -EINVAL, "unknown escape in a string");
        }
}

/* At an opening quote; ends after the closing one. */
static bool take_string(struct js *j)
{
        j->at++;
        j->escaped = false;
        for (;;) {
                while (j->end - j->at >= 8) {
                        uint64_t v, quote, slash, hit;

                        memcpy(&v, j->at, 8);
                        quote = v ^ (ONES * '"');
                        slash = v ^ (ONES * '\\');
                        hit = ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash) | (v - ONES * 0x20) | v;
                        hit &= HIGHS;
                        if (hit) {
                                /* the first hit is exact: borrows only run upwards */
                                j->at += __builtin_ctzll(hit) / 8;
                                break;
                        }
                        j->at += 8;
                }
                if (j->at >= j->end)
                        return fail(j, -EINVAL, "the text ends inside a string");

                unsigned char c = (unsigned char)*j->at;

                if (c == '"') {
                        j->at++;
                        return true;
                }
                if (c == '\\') {
                        j->escaped = true;
                        if (!escape_ok(j))
                                return false;
                } else if (c < 0x20) {
                        return fail(j, -EINVAL, "a control character in a string must be escaped");
                } else if (c < 0x80) {
                        j->at++;
                } else {
                        size_t n = utf8_length((const unsigned char *)j->at, (size_t)(j->end - j->at));

                        if (n == 0)
                                return fail(j, -EINVAL, "invalid UTF-8");
                        j->at += n;
                }
        }
}

static inline bool is_digit(unsigned char c)
{
        return c >= '0' && c <= '9';
}

static bool take_number(struct js *j)
{
        if (*j->at == '-')
                j->at++;
        if (!is_digit(next_byte(j)))
                return fail(j, -EINVAL, "expected a value");
        if (*j->at == '0')
                j->at++;
        else
                while (is_digit(next_byte(j)))
                        j->at++;
        if (next_byte(j) == '.') {
                j->at++;
                if (!is_digit(next_byte(j)))
                        return fail(j, -EINVAL, "expected a digit after '.'");
                while (is_digit(next_byte(j)))
                        j->at++;
        }
        if ((next_byte(j) | 0x20) == 'e') {
                j->at++;
                if (next_byte(j) == '+' || next_byte(j) == '-')
                        j->at++;
                if (!is_digit(next_byte(j)))
                        return fail(j, -EINVAL, "expected a digit in the exponent");
                while (is_digit(next_byte(j)))
                        j->at++;
        }
        return true;
}

static bool take_word(struct js *j, const char *word, size_t n)
{
        if ((size_t)(j->end - j->at) < n || memcmp(j->at, word, n) != 0)
                return fail(j, -EINVAL, "expected a value");
        j->at += n;
        return true;
}

/* A string, a number or a word. */
static bool take_scalar(struct js *j)
{
        switch (next_byte(j)) {
        case '"':
                return take_string(j);
        case 't':
                return take_word(j, "true", 4);
        case 'f':
                return take_word(j, "false", 5);
        case 'n':
                return take_word(j, "null", 4);
        case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
                return take_number(j);
        default:
                return fail(j, -EINVAL, j->at >= j->end ? "the text ends where a value is expected" : "expected a value");
        }
}

static enum js_type type_of(unsigned char c)
{
        switch (c) {
        case '{':
                return JS_OBJECT;
        case '[':
                return JS_ARRAY;
        case '"':
                return JS_STRING;
        case 't':
                return JS_TRUE;
        case 'f':
                return JS_FALSE;
        case 'n':
                return JS_NULL;
        case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
                return JS_NUMBER;
        default:
                return JS_NONE;
        }
}

enum js_type js_peek(struct js *j)
{
        if (j->error)
                return JS_NONE;
        skip_space(j);
        return type_of(next_byte(j));
}

static bool push(struct js *j, bool object)
{
        if (j->depth >= j->max)
                return fail(j, -E2BIG, "nested too deeply");
        if (object)
                j->objects[j->depth / 64] |= 1ull << (j->depth % 64);
        else
                j->objects[j->depth / 64] &= ~(1ull << (j->depth % 64));
        j->depth++;
        j->at++;
        j->first = true;
        return true;
}

static inline bool in_object(const struct js *j)
{
        return j->objects[(j->depth - 1) / 64] >> ((j->depth - 1) % 64) & 1;
}

bool js_enter(struct js *j)
{
        unsigned char c;

        if (j->error)
                return false;
        skip_space(j);
        c = next_byte(j);
        return (c == '{' || c == '[') && push(j, c == '{');
}

bool js_more(struct js *j, struct pm_str *key)
{
        bool object;
        const char *from;

        if (j->error || j->depth == 0)
                return false;
        object = in_object(j);
        skip_space(j);
        if (next_byte(j) == (object ? '}' : ']')) {
                j->at++;
                j->depth--;
                j->first = false;
                return false;
        }
        if (!j->first) {
                if (next_byte(j) != ',')
                        return fail(j, -EINVAL, j->at >= j->end ? (object ? "the text ends inside an object" : "the text ends inside an array")
                                                : object ? "expected ',' or '}'" : "expected ',' or ']'");
                j->at++;
                skip_space(j);
        }
        j->first = false;
        *key = (struct pm_str){ 0 };
        if (!object)
                return true;
        if (next_byte(j) != '"')
                return fail(j, -EINVAL, j->at >= j->end ? "the text ends inside an object" : "expected a name in quotes");
        from = j->at + 1;
        if (!take_string(j))
                return false;
        *key = (struct pm_str){ from, (size_t)(j->at - 1 - from) };
        skip_space(j);
        if (next_byte(j) != ':')
                return fail(j, -EINVAL, "expected ':' after a name");
        j->at++;
        return true;
}

struct pm_str js_take(struct js *j)
{
        unsigned outside = j->depth;
        const char *from;
        struct pm_str key;

        if (j->error)
                return (struct pm_str){ 0 };
        skip_space(j);
        from = j->at;
        for (;;) {
                skip_space(j);
                switch (next_byte(j)) {
                case '{':
                case '[':
                        if (!push(j, *j->at == '{'))
                                return (struct pm_str){ 0 };
                        break;
                default:
                        if (!take_scalar(j))
                                return (struct pm_str){ 0 };
                }
                while (j->depth > outside && !js_more(j, &key))
                        if (j->error)
                                return (struct pm_str){ 0 };
                if (j->depth == outside)
                        break;
        }
        j->first = false;
        return (struct pm_str){ from, (size_t)(j->at - from) };
}

int js_finish(struct js *j)
{
        if (!j->error) {
                skip_space(j);
                if (j->at < j->end)
                        fail(j, -EINVAL, "something follows the end of the value");
        }
        return j->error;
}

int js_check(struct pm_str text, size_t depth, size_t *ret_at, const char **ret_why)
{
        struct js j;

        js_start(&j, text, depth);
        (void)js_take(&j);
        if (js_finish(&j) == 0)
                return 0;
        if (ret_at)
                *ret_at = (size_t)(j.at - j.start);
        if (ret_why)
                *ret_why = j.why;
        return j.error;
}

enum js_type js_type(struct pm_str value)
{
        return value.n ? type_of((unsigned char)value.p[0]) : JS_NONE;
}

struct pm_str js_trim(struct pm_str text)
{
        while (text.n && is_space(text.p[0])) {
                text.p++;
                text.n--;
        }
        while (text.n && is_space(text.p[text.n - 1]))
                text.n--;
        return text;
}

static unsigned hex4(const char *p)
{
        return (unsigned)(hex_value(p[0]) << 12 | hex_value(p[1]) << 8 | hex_value(p[2]) << 4 | hex_value(p[3]));
}

static char *put_utf8(char *o, unsigned c)
{
        if (c < 0x80) {
                *o++ = (char)c;
        } else if (c < 0x800) {
                *o++ = (char)(0xC0 | c >> 6);
                *o++ = (char)(0x80 | (c & 0x3F));
        } else if (c < 0x10000) {
                *o++ = (char)(0xE0 | c >> 12);
                *o++ = (char)(0x80 | (c >> 6 & 0x3F));
                *o++ = (char)(0x80 | (c & 0x3F));
        } else {
                *o++ = (char)(0xF0 | c >> 18);
                *o++ = (char)(0x80 | (c >> 12 & 0x3F));
                *o++ = (char)(0x80 | (c >> 6 & 0x3F));
                *o++ = (char)(0x80 | (c & 0x3F));
        }
        return o;
}

/* At a \u escape whose digits are proved; sets *used to the bytes it took (6, or 12 for a pair). */
static unsigned read_u(const char *p, const char *end, size_t *used)
{
        unsigned c = hex4(p + 2);

        *used = 6;
        if (c < 0xD800 || c > 0xDFFF)
                return c;
        if (c < 0xDC00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
                unsigned low = hex4(p + 8);

                if (low >= 0xDC00 && low <= 0xDFFF) {
                        *used = 12;
                        return 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
                }
        }
        return 0xFFFD;
}

/* At a backslash whose escape is proved: its text into o, which has room for 4 bytes; moves *p on.  Returns the end. */
static char *put_escape(const char **p, const char *end, char *o)
{
        size_t used = 2;

        switch ((*p)[1]) {
        case 'b': *o++ = '\b'; break;
        case 'f': *o++ = '\f'; break;
        case 'n': *o++ = '\n'; break;
        case 'r': *o++ = '\r'; break;
        case 't': *o++ = '\t'; break;
        case 'u': o = put_utf8(o, read_u(*p, end, &used)); break;
        default: *o++ = (*p)[1]; break;
        }
        *p += used;
        return o;
}

bool js_equal(struct pm_str raw, const char *text)
{
        size_t n = strlen(text);
        const char *p = raw.p, *end;

        /* an escape is longer than what it stands for: equal lengths are equal texts only if there is none */
        if (raw.n < n || raw.n == 0)
                return raw.n == n;
        if (!memchr(raw.p, '\\', raw.n))
                return raw.n == n && memcmp(raw.p, text, n) == 0;
        for (end = raw.p + raw.n; p < end;) {
                char one[4] = { *p };
                size_t m = 1;

                if (*p == '\\')
                        m = (size_t)(put_escape(&p, end, one) - one);
                else
                        p++;
                if (m > n || memcmp(text, one, m) != 0)
                        return false;
                text += m;
                n -= m;
        }
        return n == 0;
}

bool js_string_is(struct pm_str value, const char *text)
{
        return value.n >= 2 && value.p[0] == '"' && js_equal((struct pm_str){ value.p + 1, value.n - 2 }, text);
}

struct pm_str js_member(struct pm_str object, const char *key)
{
        struct pm_str found = { 0 }, name;
        struct js j;

        js_start(&j, object, 512);
        if (js_type(object) != JS_OBJECT || !js_enter(&j))
                return found;
        while (js_more(&j, &name)) {
                struct pm_str value = js_take(&j);

                if (js_equal(name, key))
                        found = value;
        }
        return found;
}

size_t js_unescape(struct pm_str value, char *out)
{
        const char *p = value.p + 1, *end = value.p + value.n - 1;
        char *o = out;

        while (p < end) {
                const char *slash = memchr(p, '\\', (size_t)(end - p));
                size_t n = (size_t)((slash ? slash : end) - p);

                memcpy(o, p, n);
                o += n;
                p += n;
                if (p < end)
                        o = put_escape(&p, end, o);
        }
        return (size_t)(o - out);
}

struct pm_str js_text(struct pm_str value, struct arena *a)
{
        char *out;

        if (js_type(value) != JS_STRING)
                return (struct pm_str){ 0 };
        if (!memchr(value.p, '\\', value.n))
                return (struct pm_str){ value.p + 1, value.n - 2 };
        out = arena_alloc(a, value.n);
        if (!out)
                return (struct pm_str){ 0 };
        return (struct pm_str){ out, js_unescape(value, out) };
}

bool js_int(struct pm_str value, int64_t *ret)
{
        int64_t v = 0;
        bool minus = value.n && value.p[0] == '-';

        if (value.n == 1 && is_digit((unsigned char)value.p[0])) { /* the index of nearly each choice */
                *ret = value.p[0] - '0';
                return true;
        }
        if (value.n == (size_t)minus)
                return false;
        for (size_t i = minus; i < value.n; i++) {
                if (!is_digit((unsigned char)value.p[i]) || __builtin_mul_overflow(v, 10, &v) ||
                    __builtin_sub_overflow(v, value.p[i] - '0', &v))
                        return false;
        }
        if (!minus && v == INT64_MIN)
                return false;
        *ret = minus ? v : -v;
        return true;
}

size_t js_escape(struct pm_str text, char *out)
{
        static const char digits[] = "0123456789abcdef";
        const unsigned char *p = (const unsigned char *)text.p, *end = text.n ? p + text.n : p;
        char *o = out;

        while (p < end) {
                size_t n = utf8_length(p, (size_t)(end - p));

                if (n == 0) {
                        o = put_utf8(o, 0xFFFD);
                        p++;
                        continue;
                }
                if (n > 1) {
                        memcpy(o, p, n);
                        o += n;
                } else if (*p == '"' || *p == '\\') {
                        *o++ = '\\';
                        *o++ = (char)*p;
                } else if (*p == '\n') {
                        *o++ = '\\';
                        *o++ = 'n';
                } else if (*p < 0x20 || *p == 0x7F) {
                        memcpy(o, "\\u00", 4);
                        o[4] = digits[*p >> 4];
                        o[5] = digits[*p & 15];
                        o += 6;
                } else {
                        *o++ = (char)*p;
                }
                p += n;
        }
        return (size_t)(o - out);
}
