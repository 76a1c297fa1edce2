/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_fixture.h - real Redis servers of a test, and a client with calls that note how they ended.
 *
 * Servers are children that die with the test, in a folder of their own, on Unix sockets or free ports of 127.0.0.1.
 */
#ifndef PM_REDIS_FIXTURE_H
#define PM_REDIS_FIXTURE_H

#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <stdatomic.h>
#include <sys/types.h>

#include <criterion/criterion.h>

#include "redis.h"

#include "base.h"

#define SOON 5000000  /* us; a limit that is not meant to pass, even under sanitizers on a busy machine */
#define SLACK 1500000 /* us; how much later than its limit a call may end there */

struct server {
        pid_t pid;
        unsigned port, bus; /* 0: only the Unix socket */
        char dir[64];
        char url[112];      /* "unix:/tmp/.../s" or "127.0.0.1:port" */
        char log[80];
};

/* Options are words for the command line: "--maxmemory", "2mb".  Starts it and waits until it answers. */
#define SERVER_START(...) START_(false, __VA_ARGS__, NULL)
#define SERVER_START_TCP(...) START_(true, __VA_ARGS__, NULL)
#define START_(tcp, s, ...) server_start((s), (tcp), (const char *const[]){ __VA_ARGS__ })
void server_start(struct server *s, bool tcp, const char *const *options);
/* With a configuration file of these lines; "--sentinel" as mode. */
void server_start_file(struct server *s, const char *mode, const char *lines);
/* With the same folder, socket, port and last options. */
void server_again(struct server *s);
void server_wait(struct server *s); /* until it answers, whatever */
void server_kill(struct server *s); /* -9 */
void server_finish(struct server *s);
unsigned free_port(void);
int64_t server_number(struct server *s, const char *section, const char *field); /* of INFO */
/* Says it on a connection of its own; the reply's text (an integer's digits, the first of an array's), which lives until the next one. */
const char *server_say(struct server *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Starts a process as the servers are: output into the file, dies with the test. */
pid_t child_start(const char *const *argv, const char *log);

/* A server on the test's own loop that says what it is told to, whatever it is asked. */
extern struct fake {
        int fd; /* 0: none */
        unsigned port;
        char url[40];
        struct event *accepts;
        struct event *reads[64];
        unsigned n;
        const char *greeting; /* to the first bytes of a connection */
        const char *second;   /* to the second ones; NULL: as to all others */
        const char *answer;   /* to all others; NULL: none */
        size_t answer_n;
        unsigned asked[4096];
} fake;
void fake_start(const char *greeting, const char *second, const char *answer, size_t n);
void fake_stop(void);

/* A call, and how it ended. */
struct asked {
        struct redis_call call;
        unsigned done;
        enum redis_result result;
        char text[256]; /* of a string, a status or an error */
        size_t n;       /* its length, or the elements */
        long long integer;
        int64_t at_us;
};

extern struct stand {
        struct event_base *base;
        struct redis *r;
        struct redis_stats stats;
        struct redis_config config;
} stand;

/* Connects with stand.config, where what is 0 is filled in: the address, 1 s to connect, 3 failures, 300 ms. */
void stand_open(const char *url);
/* The same, until it is ready: the fake, if there is one. */
void stand_ready(const char *url);
/* Nothing is left behind: the gauge, the counters of what was sent. */
void stand_close_clean(void);
void stand_begin(void);
void stand_end(void);
void turn(void); /* of the loop, 5 ms at most */
#define UNTIL(condition) UNTIL_MS(condition, 10000)
#define UNTIL_MS(condition, ms)                                                                    \
        do {                                                                                       \
                int64_t until_ = now_us() + (ms) * INT64_C(1000);                                  \
                while (!(condition) && now_us() < until_)                                          \
                        turn();                                                                    \
                cr_assert(condition, "not within %d ms: %s", (int)(ms), #condition);               \
        } while (0)
#define STAT(what) atomic_load(&stand.stats.what)

void on_done(struct redis_call *c, enum redis_result result, const struct redisReply *reply);
/* Words apart by spaces; key as redis_command() wants it. */
int ask_words(struct asked *a, int key, int64_t timeout_us, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int ask_get(struct asked *a, const char *key, int64_t timeout_us);
int ask_set(struct asked *a, const char *key, const char *value, int64_t timeout_us);
struct pm_str str(const char *text);
#endif
