/* SPDX-License-Identifier: Apache-2.0 */
/* Each test is a process of its own, so it may put a pipe in the place of standard error. */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>

#include "log.h"

#include "base.h"

static int out[2];
static char text[1 << 17];

static void capture(void)
{
        cr_assert_eq(pipe2(out, O_NONBLOCK), 0);
        cr_assert_geq(dup2(out[1], STDERR_FILENO), 0);
}

/* All that has been written since the last time, without each line's time. */
static const char *written(void)
{
        ssize_t n = read(out[0], text, sizeof text - 1);
        char *from;

        text[n < 0 ? 0 : n] = '\0';
        if (strncmp(text, "time=", 5) == 0) {
                from = strchr(text, ' ');
                cr_assert_not_null(from);
                return from + 1;
        }
        return text;
}

TestSuite(log, .init = capture);

#define S(s) ((struct pm_str){ (s), sizeof(s) - 1 })

Test(log, logfmt_line)
{
        struct log_line l;

        log_setup(PM_INFO, LOG_LOGFMT);
        log_begin(&l, NULL, PM_INFO, "request");
        log_str(&l, "id", S("7f3a"));
        log_str(&l, "empty", S(""));
        log_text(&l, "none", NULL);
        log_text(&l, "path", "/v1/chat?a=b c");
        log_int(&l, "status", 200);
        log_int(&l, "low", INT64_MIN);
        log_int(&l, "zero", 0);
        log_real(&l, "confidence", .875);
        log_real(&l, "minus", -2.000001);
        log_real(&l, "whole", 3);
        log_real(&l, "carry", .9999999);
        log_real(&l, "nan", (double)NAN);
        log_end(&l);
        cr_assert_str_eq(written(), "level=info msg=request id=7f3a path=\"/v1/chat?a=b c\" status=200 low=-9223372036854775808 "
                                    "zero=0 confidence=0.875 minus=-2.000001 whole=3 carry=1 nan=null\n");
}

Test(log, json_line_is_json)
{
        struct log_line l;
        json_t *o;

        log_setup(PM_DEBUG, LOG_JSON);
        log_begin(&l, NULL, PM_WARN, "it said \"no\"\n");
        log_str(&l, "bytes", S("a\x01\x7f\xff\xc3\xa9\xe2\x80\xa8\xed\xa0\x80\xc2\x85\\"));
        log_int(&l, "n", -5);
        log_real(&l, "r", .25);
        log_real(&l, "inf", (double)INFINITY);
        log_end(&l);
        o = json_loads(written(), 0, NULL);
        cr_assert_not_null(o, "%s", text);
        cr_assert_str_eq(json_string_value(json_object_get(o, "msg")), "it said \"no\"\n");
        cr_assert_str_eq(json_string_value(json_object_get(o, "level")), "warn");
        cr_assert_str_eq(json_string_value(json_object_get(o, "bytes")),
                         "a\x01\x7f\xef\xbf\xbd\xc3\xa9\xe2\x80\xa8\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                         "\xc2\x85\\");
        cr_assert_eq(json_integer_value(json_object_get(o, "n")), -5);
        cr_assert_float_eq(json_real_value(json_object_get(o, "r")), .25, 0);
        cr_assert(json_is_null(json_object_get(o, "inf")));
        cr_assert_eq(strlen(json_string_value(json_object_get(o, "time"))), strlen("2026-01-31T12:34:56.789Z"));
        json_decref(o);
}

Test(log, nobody_forges_a_line)
{
        log_setup(PM_INFO, LOG_LOGFMT);
        log_msg(NULL, PM_ERROR, "%s", "x\ntime=2026 level=info msg=forged\r\t\x1b[31m");
        cr_assert_str_eq(written(), "level=error msg=\"x\\ntime=2026 level=info msg=forged\\r\\t\\u001b[31m\"\n");
}

/* Right to left overrides, joiners, tags: a viewer obeys them, and shows another line than was written. */
Test(log, what_a_viewer_obeys_is_escaped)
{
        log_setup(PM_INFO, LOG_LOGFMT);
        log_msg(NULL, PM_ERROR, "%s", "a\xe2\x80\xae" "b\xe2\x81\xa6\xef\xbb\xbf\xe2\x80\x8b\xc2\xad\xd8\x9c\xe2\x80\xa8\xc2\x9b\xf3\xa0\x81\x81" "c\xf0\x9f\x98\x80\xd7\x90");
        cr_assert_str_eq(written(), "level=error msg=\"a\\u202eb\\u2066\\ufeff\\u200b\\u00ad\\u061c\\u2028\\u009b\\udb40\\udc41c\xf0\x9f\x98\x80\xd7\x90\"\n");
}

/* ---- a reader that does not read ---------------------------------------------------------------------------------------- */
enum { LINES = 60000 };

static void *log_many(void *arg)
{
        for (int i = 0; i < LINES; i++)
                log_msg(NULL, PM_INFO, "line %d of many, so that standard error and the room beside it are full before the last has come", i);
        return arg;
}

Test(log, nobody_waits_for_a_reader_of_standard_error, .timeout = 60)
{
        uint64_t seen = 0, lost_told = 0;
        char line[512];
        pthread_t t;
        FILE *in;

        cr_assert_eq(fcntl(out[0], F_SETFL, 0), 0);
        cr_assert_eq(fcntl(out[1], F_SETFL, 0), 0); /* a pipe as a supervisor makes it: write() blocks when it is full */
        log_setup(PM_INFO, LOG_LOGFMT);
        cr_assert_eq(log_start(), 0);
        cr_assert_eq(pthread_create(&t, NULL, log_many, NULL), 0);
        (void)pthread_join(t, NULL); /* would never end if it waited for us */
        cr_assert_gt(log_dropped(), 0);

        /* and now somebody reads: whole lines in order, and how many are missing */
        in = fdopen(out[0], "r");
        cr_assert_not_null(in);
        while (seen + log_dropped() < LINES && fgets(line, sizeof line, in)) {
                char expected[64];

                (void)snprintf(expected, sizeof expected, "msg=\"line %" PRIu64 " of many", seen);
                cr_assert_not_null(strstr(line, expected), "%s", line);
                seen++;
        }
        cr_assert(fgets(line, sizeof line, in) && strstr(line, " log lines dropped: "), "%s", line);
        lost_told = strtoull(strstr(line, "msg=\"") + 5, NULL, 10);
        cr_assert_eq(lost_told, log_dropped());
        log_msg(NULL, PM_INFO, "the last one");
        log_stop();
        cr_assert(fgets(line, sizeof line, in) && strstr(line, "the last one"));
        log_msg(NULL, PM_INFO, "behind it");
        cr_assert(fgets(line, sizeof line, in) && strstr(line, "behind it"), "written by whoever has it");
        cr_assert_eq(log_dropped(), lost_told);
        (void)fclose(in);
}

Test(log, the_end_does_not_wait_for_a_reader_either, .timeout = 20)
{
        int64_t began;

        cr_assert_eq(fcntl(out[1], F_SETFL, 0), 0);
        log_setup(PM_INFO, LOG_LOGFMT);
        cr_assert_eq(log_start(), 0);
        (void)log_many(NULL);
        began = now_us();
        log_stop();
        cr_assert_lt(now_us() - began, 5000000);
        log_msg(NULL, PM_INFO, "nor does who comes later");
}

Test(log, levels)
{
        log_setup(PM_WARN, LOG_LOGFMT);
        log_msg(NULL, PM_INFO, "quiet");
        cr_assert_str_empty(written());
        cr_assert(log_wants(PM_ERROR));
        cr_assert_not(log_wants(PM_INFO));
        log_msg(NULL, PM_WARN, "loud");
        cr_assert_str_eq(written(), "level=warn msg=loud\n");
}

Test(log, long_values_and_lines_are_cut_and_say_so)
{
        static char value[6000];
        struct log_line l;
        const char *line;

        log_setup(PM_INFO, LOG_LOGFMT);
        memset(value, 'v', sizeof value - 1);
        log_begin(&l, NULL, PM_INFO, value);
        for (int i = 0; i < 8; i++)
                log_text(&l, "field", value);
        log_int(&l, "n", 1);
        log_end(&l);
        line = written();
        cr_assert_leq(strlen(text), sizeof l.text);
        cr_assert_not_null(strstr(line, "vvv...\" field=\"vvv"));
        cr_assert_not_null(strstr(line, " cut=true\n"));
        cr_assert_eq(strchr(line, '\n')[1], '\0');

        log_setup(PM_INFO, LOG_JSON);
        memset(value, '\x01', sizeof value - 1);
        log_begin(&l, NULL, PM_INFO, value);
        for (int i = 0; i < 8; i++)
                log_text(&l, "field", value);
        log_end(&l);
        {
                json_t *o = json_loads(written(), 0, NULL);

                cr_assert_not_null(o, "%s", text);
                cr_assert(json_is_true(json_object_get(o, "cut")));
                cr_assert_not_null(json_object_get(o, "msg"), "the message is never left out");
                json_decref(o);
        }
}

Test(log, a_cut_does_not_split_a_character)
{
        static char value[1100];
        struct log_line l;
        json_t *o;

        log_setup(PM_INFO, LOG_JSON);
        value[0] = 'x';
        for (size_t i = 1; i + 2 < sizeof value; i += 2)
                memcpy(value + i, "\xc3\xa9", 2);
        log_begin(&l, NULL, PM_INFO, "m");
        log_text(&l, "v", value);
        log_end(&l);
        o = json_loads(written(), 0, NULL);
        cr_assert_not_null(o, "%s", text);
        cr_assert_null(strstr(json_string_value(json_object_get(o, "v")), "\xef\xbf\xbd"));
        json_decref(o);
}

Test(log, a_buffer_gathers_lines_until_its_time_or_a_warning)
{
        struct event_base *base = event_base_new();
        struct log_buffer *b = log_buffer_create(base);

        cr_assert_not_null(b);
        log_setup(PM_INFO, LOG_LOGFMT);
        log_msg(b, PM_INFO, "one");
        cr_assert_str_empty(written());
        (void)event_base_dispatch(base); /* ends with the timer */
        cr_assert_str_eq(written(), "level=info msg=one\n");
        log_msg(b, PM_INFO, "two");
        log_msg(b, PM_WARN, "three");
        cr_assert_not_null(strstr(written(), "msg=three\n"));
        cr_assert_not_null(strstr(text, "msg=two\n"));
        log_msg(b, PM_INFO, "four");
        log_buffer_destroy(b);
        cr_assert_str_eq(written(), "level=info msg=four\n");
        event_base_free(base);
}

Test(log, a_full_buffer_goes_out_whole)
{
        struct event_base *base = event_base_new();
        struct log_buffer *b = log_buffer_create(base);
        size_t lines = 0;

        log_setup(PM_INFO, LOG_LOGFMT);
        while (!*written() && lines < 100000) {
                log_msg(b, PM_INFO, "a line of some length, to fill the buffer with");
                lines++;
        }
        cr_assert_gt(lines, 100);
        cr_assert_eq(text[strlen(text) - 1], '\n');
        log_buffer_destroy(b);
        event_base_free(base);
        cr_assert_eq(log_dropped(), 0);
}

Test(log, a_full_pipe_drops_lines_and_counts_them)
{
        static char value[900];
        size_t sent = 0, got = 0;

        log_setup(PM_INFO, LOG_LOGFMT);
        memset(value, 'x', sizeof value - 1);
        for (; log_dropped() < 10; sent++)
                log_msg(NULL, PM_INFO, "%s", value);
        for (;;) { /* what arrived is whole lines */
                ssize_t n = read(out[0], text, sizeof text - 1);

                if (n <= 0)
                        break;
                for (ssize_t i = 0; i < n; i++)
                        got += text[i] == '\n';
        }
        log_msg(NULL, PM_INFO, "after");
        cr_assert_not_null(strstr(written(), "msg=after\n"));
        cr_assert_eq(sent, got + log_dropped());
}

static void *chatter(void *arg)
{
        struct log_buffer *to = arg;

        for (int i = 0; i < 200; i++)
                log_msg(to, PM_WARN, "thread line %d", i);
        return NULL;
}

Test(log, threads_write_whole_lines)
{
        pthread_t t[3];
        const char *p;
        size_t lines = 0;

        log_setup(PM_INFO, LOG_LOGFMT);
        for (size_t i = 0; i < LENGTH_OF(t); i++)
                cr_assert_eq(pthread_create(&t[i], NULL, chatter, NULL), 0);
        for (size_t i = 0; i < LENGTH_OF(t); i++)
                (void)pthread_join(t[i], NULL);
        (void)written();
        for (p = text; *p; p = strchr(p, '\n') + 1, lines++)
                cr_assert_eq(strncmp(p, "time=", 5), 0);
        cr_assert_eq(lines + log_dropped(), 600);
}
