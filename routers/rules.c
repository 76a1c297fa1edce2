/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules - the first rule whose conditions all hold says where the request goes.
 *
 *         rules:
 *           - { name: vip, tenants: [acme], expert: large }
 *           - { name: code, keywords: [python, "c++", compile], expert: coder, fallbacks: [large] }
 *           - { name: long, min_bytes: 64KiB, expert: long-context }
 *           - { name: house, keywords: [invoice], expert: own, fallbacks: [] }
 *           - { name: rest, expert: small }
 *
 * Conditions are tried from the cheapest to the dearest.  The keywords of all rules are searched in one pass, when the first rule
 * that has some is reached; the language is found once, in the same way; expressions are compiled to machine code by PCRE2 and run
 * under a limit of steps, so that one which explodes on some text costs a fraction of a millisecond and counts as "does not match".
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>
#include <stdatomic.h>

#include "keywords.h"
#include "language.h"
#include "pm_router.h"

#include "base.h"

#define RULES_MAX 1024
#define MATCH_LIMIT 50000     /* steps of PCRE2 for one expression and one text: 100 to 300 us */
#define STACK_MAX (1u << 20)  /* bytes of stack for an expression that backtracks far, on a second try */
#define DEPTH_LIMIT 1000
#define HEAP_LIMIT_KIB 256
#define EXPLODED_MAX 2        /* expressions that may reach the limit in one query; the others then count as "no match" */

struct header_rule {
        const char *name, *value, *regex;
        pcre2_code *code;
};

struct rule {
        const char *name;
        struct pm_tables headers;
        struct pm_strs tenants, models, keywords, languages;
        const char *regex;
        int64_t min_bytes, max_bytes, min_chars, max_chars, min_messages, max_messages;
        const char *expert, *category, *reason, *extra;
        struct pm_strs fallbacks;

        pcre2_code *code;
        const char **after;   /* the fallbacks, NULL at the end */
        char *label;          /* "rule 'code'" or "rule 3" */
};

struct rules {
        struct pm_tables list;
        int64_t scan;

        struct keywords *keywords;  /* NULL: no rule has any */
        struct language *language;  /* NULL: no rule asks for one */
        pcre2_match_context *limits;
        atomic_uint_fast64_t exploded;
};

static const struct pm_option header_options[] = {
        PM_STR_OPTION(struct header_rule, name, "name", PM_REQUIRED, NULL, "name of the header, case-insensitive"),
        PM_STR_OPTION(struct header_rule, value, "value", 0, NULL, "exact value; without value and regex the header only has to be present"),
        PM_STR_OPTION(struct header_rule, regex, "regex", 0, NULL, "regular expression (PCRE2) that matches its value"),
        PM_END_OPTION
};

static const struct pm_option rule_options[] = {
        PM_STR_OPTION(struct rule, name, "name", 0, NULL, "name of the rule in logs and messages"),
        PM_TABLES_OPTION(struct rule, headers, struct header_rule, "headers", 0, 0, 16, header_options, "condition: all of these headers match"),
        PM_STRS_OPTION(struct rule, tenants, "tenants", 0, 0, 1000, "condition: the tenant is one of these"),
        PM_STRS_OPTION(struct rule, models, "models", 0, 0, 1000, "condition: the request's model is one of these"),
        PM_STRS_OPTION(struct rule, keywords, "keywords", 0, 0, 5000,
                       "condition: the last user message contains one of these as a whole word, case-insensitive"),
        PM_STR_OPTION(struct rule, regex, "regex", 0, NULL, "condition: regular expression (PCRE2) that matches the last user message"),
        PM_STRS_OPTION(struct rule, languages, "languages", 0, 0, 100, "condition: the language of the last user message is one of these (ISO 639-1 codes)"),
        PM_SIZE_OPTION(struct rule, min_bytes, "min_bytes", NULL, 0, 1073741824, "condition: minimum size of the conversation's texts"),
        PM_SIZE_OPTION(struct rule, max_bytes, "max_bytes", NULL, 0, 1073741824, "condition: maximum size of the conversation's texts; 0: no limit"),
        PM_INT_OPTION(struct rule, min_chars, "min_chars", NULL, 0, 1073741824, "condition: minimum number of characters in the conversation's texts"),
        PM_INT_OPTION(struct rule, max_chars, "max_chars", NULL, 0, 1073741824, "condition: maximum number of characters in the conversation's texts; 0: no limit"),
        PM_INT_OPTION(struct rule, min_messages, "min_messages", NULL, 0, 1000000, "condition: minimum number of messages"),
        PM_INT_OPTION(struct rule, max_messages, "max_messages", NULL, 0, 1000000, "condition: maximum number of messages; 0: no limit"),
        PM_STR_OPTION(struct rule, expert, "expert", PM_REQUIRED, NULL, "expert that gets the request"),
        PM_STRS_OPTION(struct rule, fallbacks, "fallbacks", 0, 0, 32, "fallback experts, best first; []: none, even if the expert is unavailable; absent: the route's"),
        PM_STR_OPTION(struct rule, category, "category", 0, NULL, "category for metrics and response headers"),
        PM_STR_OPTION(struct rule, reason, "reason", 0, NULL, "reason, one line of text; default: the rule's name"),
        PM_STR_OPTION(struct rule, extra, "extra", 0, NULL, "JSON object that is merged into the upstream body"),
        PM_END_OPTION
};

static const struct pm_option options[] = {
        PM_TABLES_OPTION(struct rules, list, struct rule, "rules", PM_REQUIRED, 1, RULES_MAX, rule_options,
                         "rules; the first one whose conditions all hold decides; a rule without conditions always holds"),
        PM_SIZE_OPTION(struct rules, scan, "scan", "16KiB", 256, 1048576,
                       "how much of the last user message keywords and regular expressions are matched against"),
        PM_END_OPTION
};

/* ---- open ------------------------------------------------------------------------------------------------------------------ */

/* All mistakes of all rules, since open() can refuse only once. */
struct mistakes {
        char text[2000];
        size_t used;
};

static PRINTF(3, 4) void mistake(struct mistakes *m, const struct rule *r, const char *fmt, ...)
{
        int n = snprintf(m->text + m->used, sizeof m->text - m->used, "%s%s: ", m->used ? "; " : "", r->label);
        va_list args;

        if (n < 0 || (size_t)n >= sizeof m->text - m->used)
                return; /* full: what is there is enough to begin with */
        m->used += (size_t)n;
        va_start(args, fmt);
        (void)vsnprintf(m->text + m->used, sizeof m->text - m->used, fmt, args);
        va_end(args);
        m->used = strlen(m->text);
}

static bool is_expert(const struct pm_open *o, const char *name)
{
        for (size_t i = 0; i < o->n_experts; i++)
                if (strcmp(o->experts[i], name) == 0)
                        return true;
        return false;
}

static pcre2_code *compile(const struct rule *r, const char *regex, struct mistakes *m)
{
        pcre2_code *code;
        PCRE2_SIZE offset;
        int error;

        code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_MATCH_INVALID_UTF, &error, &offset, NULL);
        if (!code) {
                char why[160] = "";

                (void)pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
                mistake(m, r, "regex '%.60s', at character %zu: %s", regex, offset, why);
                return NULL;
        }
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* where there is no JIT, the interpreter runs under the same limits */
        return code;
}

static void open_headers(struct rule *r, const struct pm_open *o, struct mistakes *m)
{
        struct header_rule *h = r->headers.items;

        for (size_t i = 0; i < r->headers.n; i++) {
                o->reads_header(o, h[i].name);
                if (h[i].value && h[i].regex)
                        mistake(m, r, "header '%s' has both a value and a regex: one of them would be right", h[i].name);
                if (h[i].regex)
                        h[i].code = compile(r, h[i].regex, m);
        }
}

static void open_keywords(struct rules *s, struct rule *r, uint32_t index, struct mistakes *m)
{
        for (size_t i = 0; i < r->keywords.n; i++) {
                int e;

                if (!s->keywords)
                        s->keywords = keywords_create();
                e = s->keywords ? keywords_add(s->keywords, r->keywords.items[i], index) : -ENOMEM;
                if (e == -EINVAL)
                        mistake(m, r, "keyword '%.40s' is empty, not UTF-8 or longer than %d bytes", r->keywords.items[i], KEYWORD_MAX);
                else if (e == -E2BIG)
                        mistake(m, r, "the keywords of all rules together are longer than %d bytes", KEYWORDS_STATES_MAX);
                else if (e < 0)
                        mistake(m, r, "out of memory for its keywords");
                if (e < 0 && e != -EINVAL)
                        return;
        }
}

static void open_languages(struct rules *s, const struct rule *r, struct mistakes *m)
{
        for (size_t i = 0; i < r->languages.n; i++)
                if (!language_known(r->languages.items[i]))
                        mistake(m, r, "language '%.20s' is none that can be recognised: %s", r->languages.items[i], language_codes());
        if (r->languages.n && !s->language) {
                s->language = language_create();
                if (!s->language)
                        mistake(m, r, "out of memory for the languages");
        }
}

static void open_ranges(const struct rule *r, struct mistakes *m)
{
        if (r->max_bytes && r->min_bytes > r->max_bytes)
                mistake(m, r, "min_bytes is above max_bytes");
        if (r->max_chars && r->min_chars > r->max_chars)
                mistake(m, r, "min_chars is above max_chars");
        if (r->max_messages && r->min_messages > r->max_messages)
                mistake(m, r, "min_messages is above max_messages");
}

/* Levels of brackets in a JSON text that has been parsed. */
static size_t depth_of(const char *json)
{
        size_t depth = 0, deepest = 0;
        bool quoted = false;

        for (const char *p = json; *p; p++) {
                if (quoted && *p == '\\')
                        p++;
                else if (*p == '"')
                        quoted = !quoted;
                else if (!quoted && (*p == '{' || *p == '['))
                        depth++;
                else if (!quoted && (*p == '}' || *p == ']'))
                        depth--;
                deepest = MAX(deepest, depth);
        }
        return deepest;
}

/* What the gateway would refuse at each request is a mistake here, where somebody reads it. */
static void open_extra(const struct rule *r, struct mistakes *m)
{
        json_error_t error;
        json_t *extra;

        if (!r->extra)
                return;
        if (strlen(r->extra) > PM_EXTRA_BYTES_MAX) {
                mistake(m, r, "extra has %zu bytes, at most %u are allowed", strlen(r->extra), PM_EXTRA_BYTES_MAX);
                return;
        }
        errno = 0;
        extra = json_loads(r->extra, JSON_REJECT_DUPLICATES, &error);
        if (!extra && errno == ENOMEM) /* Jansson does not say so */
                mistake(m, r, "out of memory");
        else if (!json_is_object(extra))
                mistake(m, r, "extra is no JSON object: %s", extra ? "found another value" : error.text);
        else if (json_object_size(extra) > PM_EXTRA_MEMBERS_MAX)
                mistake(m, r, "extra has %zu members, at most %u are allowed", json_object_size(extra), PM_EXTRA_MEMBERS_MAX);
        else if (depth_of(r->extra) > PM_EXTRA_DEPTH_MAX)
                mistake(m, r, "extra is nested %zu deep, at most %u levels are allowed", depth_of(r->extra), PM_EXTRA_DEPTH_MAX);
        json_decref(extra);
}

static bool is_only(const struct rule *r)
{
        return r->fallbacks.items && r->fallbacks.n == 0;
}

static void open_result(struct rule *r, const struct pm_open *o, struct mistakes *m)
{
        if (!is_expert(o, r->expert))
                mistake(m, r, "no expert is called '%s'", r->expert);
        for (size_t i = 0; i < r->fallbacks.n; i++)
                if (!is_expert(o, r->fallbacks.items[i]))
                        mistake(m, r, "no expert is called '%s' (fallbacks)", r->fallbacks.items[i]);
        r->after = calloc(r->fallbacks.n + 1, sizeof *r->after);
        if (!r->after)
                mistake(m, r, "out of memory for its fallbacks");
        for (size_t i = 0; r->after && i < r->fallbacks.n; i++)
                r->after[i] = r->fallbacks.items[i];
        if (is_only(r))
                o->insists(o);
        open_extra(r, m);
}

static bool is_conditional(const struct rule *r)
{
        return r->headers.n || r->tenants.items || r->models.items || r->keywords.items || r->languages.items || r->regex ||
               r->min_bytes || r->max_bytes || r->min_chars || r->max_chars || r->min_messages || r->max_messages;
}

/* A condition of which there is no case; NULL: there is none such. */
static const char *impossible(const struct rule *r)
{
        const struct { const char *key; const struct pm_strs *list; } lists[] = {
                { "tenants", &r->tenants }, { "models", &r->models }, { "keywords", &r->keywords }, { "languages", &r->languages },
        };

        for (size_t i = 0; i < LENGTH_OF(lists); i++)
                if (lists[i].list->items && lists[i].list->n == 0)
                        return lists[i].key;
        return NULL;
}

static void rules_close(void *self)
{
        struct rules *s = self;
        struct rule *rules = s->list.items;

        for (size_t i = 0; i < s->list.n; i++) {
                struct header_rule *h = rules[i].headers.items;

                for (size_t k = 0; k < rules[i].headers.n; k++)
                        pcre2_code_free(h[k].code);
                pcre2_code_free(rules[i].code);
                free(rules[i].after);
                free(rules[i].label);
        }
        pcre2_match_context_free(s->limits);
        keywords_destroy(s->keywords);
        language_destroy(s->language);
}

static int rules_open(void *self, const struct pm_open *o)
{
        struct rules *s = self;
        struct rule *rules = s->list.items;
        struct mistakes m = { 0 };
        const struct rule *always = NULL;

        s->limits = pcre2_match_context_create(NULL);
        if (!s->limits)
                return o->refuse(o, "out of memory");
        (void)pcre2_set_match_limit(s->limits, MATCH_LIMIT);
        (void)pcre2_set_depth_limit(s->limits, DEPTH_LIMIT);
        (void)pcre2_set_heap_limit(s->limits, HEAP_LIMIT_KIB);
        for (size_t i = 0; i < s->list.n; i++) {
                struct rule *r = &rules[i];

                if ((r->name ? asprintf(&r->label, "rule '%.60s'", r->name) : asprintf(&r->label, "rule %zu", i + 1)) < 0) {
                        r->label = NULL;
                        rules_close(s);
                        return o->refuse(o, "out of memory");
                }
                open_headers(r, o, &m);
                open_keywords(s, r, (uint32_t)i, &m);
                open_languages(s, r, &m);
                open_ranges(r, &m);
                open_result(r, o, &m);
                if (r->regex)
                        r->code = compile(r, r->regex, &m);
                if (impossible(r))
                        o->log(o, PM_WARN, "%s can never match: '%s' is empty, and one of none is none", r->label, impossible(r));
                if (always)
                        o->log(o, PM_WARN, "%s can never match: %s before it has no conditions", r->label, always->label);
                else if (!is_conditional(r))
                        always = r;
        }
        if (m.used == 0 && s->keywords && keywords_build(s->keywords) < 0)
                mistake(&m, rules, "out of memory for the keywords");
        if (m.used) {
                rules_close(s);
                return o->refuse(o, "%s", m.text);
        }
        return 0;
}

/* ---- route ----------------------------------------------------------------------------------------------------------------- */

/* What is known of a query so far; each part is found when the first rule asks. */
struct look {
        struct rules *s; /* only its counter changes */
        struct pm_query *q;
        struct pm_str text;             /* what keywords and expressions see */
        uint64_t hits[RULES_MAX / 64];  /* rules that have a keyword in the text */
        bool searched, spoken, counted;
        const char *language;
        int64_t bytes, chars;
        pcre2_match_data *match;
        int exploded;
};

static bool is_one_of(const struct pm_strs *list, struct pm_str s)
{
        for (size_t i = 0; i < list->n; i++)
                if (strlen(list->items[i]) == s.n && memcmp(list->items[i], s.p, s.n) == 0)
                        return true;
        return false;
}

/* The 32 KiB of stack that compiled expressions begin with were too small: with more, which only such a text pays for. */
static int match_deep(struct look *l, const pcre2_code *code, struct pm_str text)
{
        pcre2_match_context *limits = pcre2_match_context_copy(l->s->limits);
        pcre2_jit_stack *stack = pcre2_jit_stack_create(STACK_MAX / 16, STACK_MAX, NULL);
        int found = PCRE2_ERROR_NOMEMORY;

        if (limits && stack) {
                pcre2_jit_stack_assign(limits, NULL, stack);
                found = pcre2_match(code, (PCRE2_SPTR)text.p, text.n, 0, 0, l->match, limits);
        }
        pcre2_jit_stack_free(stack);
        pcre2_match_context_free(limits);
        return found;
}

static bool matches(struct look *l, const struct rule *r, const pcre2_code *code, struct pm_str text)
{
        uint_fast64_t before;
        int found;

        if (l->exploded >= EXPLODED_MAX)
                return false;
        if (!l->match)
                l->match = pcre2_match_data_create(1, NULL);
        if (!l->match)
                return false;
        found = pcre2_match(code, (PCRE2_SPTR)(text.n ? text.p : ""), text.n, 0, 0, l->match, l->s->limits);
        if (found == PCRE2_ERROR_JIT_STACKLIMIT)
                found = match_deep(l, code, text);
        if (found >= 0 || found == PCRE2_ERROR_NOMATCH)
                return found >= 0;
        l->exploded++;
        before = atomic_fetch_add(&l->s->exploded, 1);
        if (before % 1000 == 0) {
                char why[120] = "";

                (void)pcre2_get_error_message(found, (PCRE2_UCHAR *)why, sizeof why);
                pm_log(l->q, PM_WARN, "%s: its expression was stopped (%s), using \"no match\"; time number %" PRIuFAST64, r->label, why,
                       before + 1);
        }
        return false;
}

static bool headers_hold(struct look *l, const struct rule *r)
{
        const struct header_rule *h = r->headers.items;

        for (size_t i = 0; i < r->headers.n; i++) {
                struct pm_str value = pm_header(l->q, h[i].name);

                if (h[i].code ? !value.p || !matches(l, r, h[i].code, value)
                    : h[i].value ? strlen(h[i].value) != value.n || memcmp(h[i].value, value.p ? value.p : "", value.n) != 0
                                 : value.n == 0)
                        return false;
        }
        return true;
}

static int64_t count_chars(struct pm_str s)
{
        int64_t n = 0;

        for (size_t i = 0; i < s.n; i++)
                n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
        return n;
}

static bool size_holds(struct look *l, const struct rule *r)
{
        const struct pm_query *q = l->q;
        int64_t messages = (int64_t)q->n_messages;

        if (messages < r->min_messages || (r->max_messages && messages > r->max_messages))
                return false;
        if (!r->min_bytes && !r->max_bytes && !r->min_chars && !r->max_chars)
                return true;
        if (!l->counted) {
                for (size_t i = 0; i < q->n_messages; i++) {
                        l->bytes += (int64_t)q->messages[i]->text.n;
                        l->chars += count_chars(q->messages[i]->text);
                }
                l->counted = true;
        }
        return l->bytes >= r->min_bytes && (!r->max_bytes || l->bytes <= r->max_bytes) && l->chars >= r->min_chars &&
               (!r->max_chars || l->chars <= r->max_chars);
}

static bool language_holds(struct look *l, const struct rule *r)
{
        if (!l->spoken) {
                l->language = language_of(l->s->language, l->text.p, l->text.n);
                l->spoken = true;
        }
        return l->language && is_one_of(&r->languages, (struct pm_str){ l->language, 2 });
}

static bool keyword_holds(struct look *l, size_t index)
{
        if (!l->searched) {
                memset(l->hits, 0, (l->s->list.n + 63) / 64 * sizeof l->hits[0]);
                if (keywords_find(l->s->keywords, l->text.p, l->text.n, l->hits) < 0)
                        pm_log(l->q, PM_WARN, "out of memory: cannot search keywords, using \"no match\"");
                l->searched = true;
        }
        return l->hits[index / 64] >> index % 64 & 1;
}

static bool holds(struct look *l, const struct rule *r, size_t index)
{
        if (r->tenants.items && !is_one_of(&r->tenants, l->q->tenant))
                return false;
        if (r->models.items && !is_one_of(&r->models, l->q->model))
                return false;
        if (!headers_hold(l, r) || !size_holds(l, r))
                return false;
        if (r->keywords.items && (!r->keywords.n || !keyword_holds(l, index)))
                return false;
        if (r->languages.items && (!r->languages.n || !language_holds(l, r)))
                return false;
        return !r->code || matches(l, r, r->code, l->text);
}

static bool is_usable(const struct pm_query *q, const char *expert)
{
        for (size_t i = 0; i < q->n_experts; i++)
                if (strcmp(q->experts[i]->name, expert) == 0)
                        return true;
        return false;
}

/* The rule's expert, or the first of its fallbacks that may be used now.  Where none is there, the host knows whether the route has others. */
static pm_step follow(struct pm_query *q, const struct rule *r)
{
        const char *const *after = r->after;
        const char *expert = r->expert;

        while (expert && !is_only(r) && !is_usable(q, expert))
                expert = *after ? *after++ : NULL;
        return pm_decide(q, .expert = expert ? expert : r->expert, .fallbacks = after, .only = is_only(r), .category = r->category, .confidence = 1,
                         .reason = r->reason ? r->reason : r->label, .extra = r->extra, .unsure = !is_conditional(r));
}

static pm_step rules_route(void *self, struct pm_query *q)
{
        struct rules *s = self;
        const struct rule *rules = s->list.items, *found = NULL;
        struct look l;

        l.s = s;
        l.q = q;
        l.text = (struct pm_str){ q->text.p, MIN(q->text.n, (size_t)s->scan) };
        l.searched = l.spoken = l.counted = false;
        l.language = NULL;
        l.bytes = l.chars = 0;
        l.match = NULL;
        l.exploded = 0;
        for (size_t i = 0; i < s->list.n && !found; i++)
                if (holds(&l, &rules[i], i))
                        found = &rules[i];
        pcre2_match_data_free(l.match);
        return found ? follow(q, found) : pm_pass(q);
}

PM_ROUTER(.name = "rules", .version = "1", .summary = "routes by rules; the first match decides: header, tenant, model, keyword, regular expression, "
          "language, size", .self_size = sizeof(struct rules), .options = options, .open = rules_open, .close = rules_close,
          .route = rules_route, .reads = PM_READS_TEXT | PM_READS_MESSAGES | PM_READS_TENANT | PM_READS_HEADERS)
