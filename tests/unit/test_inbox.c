/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <event2/event.h>

#include "inbox.h"

#include "base.h"

#define SENDERS 4
#define EACH 20000

struct note {
        struct message m;
        unsigned from, number;
};

struct reader {
        struct event_base *base;
        struct inbox inbox;
        unsigned next[SENDERS], total;
        bool in_order;
};

static void take(struct message *m, void *owner)
{
        struct note *n = CONTAINER_OF(m, struct note, m);
        struct reader *r = owner;

        r->in_order &= n->number == r->next[n->from];
        r->next[n->from]++;
        free(n);
        if (++r->total == SENDERS * EACH)
                (void)event_base_loopbreak(r->base);
}

static struct note *note_create(unsigned from, unsigned number)
{
        struct note *n = calloc(1, sizeof *n);

        assert(n);
        n->m.deliver = take;
        n->from = from;
        n->number = number;
        return n;
}

struct sender {
        pthread_t thread;
        struct reader *to;
        unsigned id;
};

static void *send_all(void *arg)
{
        const struct sender *s = arg;

        for (unsigned i = 0; i < EACH; i++)
                inbox_post(&s->to->inbox, &note_create(s->id, i)->m);
        return NULL;
}

static void reader_init(struct reader *r)
{
        *r = (struct reader){ .base = event_base_new(), .in_order = true };
        cr_assert_not_null(r->base);
        cr_assert_eq(inbox_init(&r->inbox, r->base, r), 0);
}

Test(inbox, delivers_all_messages_of_many_threads_each_in_order, .timeout = 60)
{
        struct sender senders[SENDERS];
        struct reader r;

        reader_init(&r);
        for (unsigned i = 0; i < SENDERS; i++) {
                senders[i] = (struct sender){ .to = &r, .id = i };
                cr_assert_eq(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
        }
        (void)event_base_dispatch(r.base);
        for (unsigned i = 0; i < SENDERS; i++)
                (void)pthread_join(senders[i].thread, NULL);
        cr_assert_eq(r.total, SENDERS * EACH);
        cr_assert(r.in_order);
        inbox_finish(&r.inbox);
        event_base_free(r.base);
}

static struct reader *posts_to;

static void post_again(struct message *m, void *owner)
{
        (void)owner;
        m->deliver = take;
        inbox_post(&posts_to->inbox, m);
}

Test(inbox, finish_delivers_what_is_left_and_what_that_posts)
{
        struct reader r;

        reader_init(&r);
        posts_to = &r;
        inbox_post(&r.inbox, &note_create(0, 0)->m);
        inbox_post(&r.inbox, &note_create(1, 0)->m);
        {
                struct note *n = note_create(2, 0);

                n->m.deliver = post_again;
                inbox_post(&r.inbox, &n->m);
        }
        cr_assert_eq(r.total, 0, "posting delivers nothing");
        inbox_finish(&r.inbox);
        cr_assert_eq(r.total, 3);
        inbox_finish(&r.inbox); /* a second time is harmless */
        event_base_free(r.base);
}

Test(inbox, a_message_that_posts_itself_lets_the_loop_turn, .timeout = 10)
{
        static const struct timeval soon = { 0, 10000 };
        struct reader r;
        struct note *n;

        reader_init(&r);
        posts_to = &r;
        n = note_create(0, 0);
        n->m.deliver = post_again;
        inbox_post(&r.inbox, &n->m);
        (void)event_base_loopexit(r.base, &soon);
        (void)event_base_dispatch(r.base);
        cr_assert_eq(r.total, 1);
        inbox_finish(&r.inbox);
        event_base_free(r.base);
}
