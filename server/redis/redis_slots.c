/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Redis Cluster says, taken apart.  A table that is wrong anywhere is refused as a whole: what is sent to a wrong node is corrected by
 * that node, but a table with holes would only cost redirections for ever.
 */
#include "redis_slots.h"

#include <hiredis/hiredis.h>

#include "base.h"

/* Polynomial 0x1021, from zero, most significant bit first: four bits at a time. */
static unsigned crc16(const char *p, size_t n)
{
        static const uint16_t of[16] = { 0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                         0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef };
        unsigned crc = 0;

        for (size_t i = 0; i < n; i++) {
                unsigned byte = (unsigned char)p[i];

                crc = (crc << 4 ^ of[(crc >> 12 ^ byte >> 4) & 15]) & 0xffff;
                crc = (crc << 4 ^ of[(crc >> 12 ^ byte) & 15]) & 0xffff;
        }
        return crc;
}

unsigned redis_slot_of_key(struct pm_str key)
{
        const char *open = key.n ? memchr(key.p, '{', key.n) : NULL;
        const char *close = open ? memchr(open, '}', key.n - (size_t)(open - key.p)) : NULL;

        if (close && close > open + 1)
                key = (struct pm_str){ open + 1, (size_t)(close - open - 1) };
        return crc16(key.p, key.n) % REDIS_SLOTS;
}

/* ---- the table ---------------------------------------------------------------------------------------------------------- */
static int host_and_port(struct pm_str host, long long port, const struct redis_address *from, struct redis_address *to)
{
        if (host.n == 0)
                host = (struct pm_str){ from->host, strlen(from->host) };
        return redis_address_set(to, host, port);
}

int redis_slots_read(const redisReply *reply, const struct redis_address *from,
                     int (*fn)(void *arg, unsigned first, unsigned last, const struct redis_address *master), void *arg)
{
        if (reply->type != REDIS_REPLY_ARRAY)
                return -EINVAL;
        for (size_t i = 0; i < reply->elements; i++) {
                const redisReply *row = reply->element[i], *node;
                struct redis_address to;
                int rc;

                /* first slot, last slot, master, replicas; a node is host (nil: not known), port, id and more */
                if (row->type != REDIS_REPLY_ARRAY || row->elements < 3 || row->element[0]->type != REDIS_REPLY_INTEGER ||
                    row->element[1]->type != REDIS_REPLY_INTEGER || row->element[0]->integer < 0 ||
                    row->element[1]->integer < row->element[0]->integer || row->element[1]->integer >= REDIS_SLOTS)
                        return -EINVAL;
                node = row->element[2];
                if (node->type != REDIS_REPLY_ARRAY || node->elements < 2 || node->element[1]->type != REDIS_REPLY_INTEGER ||
                    (node->element[0]->type != REDIS_REPLY_STRING && node->element[0]->type != REDIS_REPLY_NIL))
                        return -EINVAL;
                if (host_and_port((struct pm_str){ node->element[0]->str, node->element[0]->len }, node->element[1]->integer, from, &to) < 0)
                        return -EINVAL;
                rc = fn(arg, (unsigned)row->element[0]->integer, (unsigned)row->element[1]->integer, &to);
                if (rc < 0)
                        return rc;
        }
        return 0;
}

/* ---- redirections ------------------------------------------------------------------------------------------------------- */
/* Digits up to `end`, which may not be passed; at most max.  False: not a number. */
static bool number(const char **p, const char *end, unsigned max, unsigned *ret)
{
        unsigned v = 0;
        const char *at = *p;

        for (; at < end && *at >= '0' && *at <= '9'; at++) {
                v = v * 10 + (unsigned)(*at - '0');
                if (v > max)
                        return false;
        }
        if (at == *p)
                return false;
        *p = at;
        *ret = v;
        return true;
}

static bool begins(struct pm_str text, const char *word)
{
        size_t n = strlen(word);

        return text.n >= n && memcmp(text.p, word, n) == 0;
}

enum redis_move redis_move_read(struct pm_str text, const struct redis_address *from, unsigned *slot, struct redis_address *to)
{
        enum redis_move move = begins(text, "MOVED ") ? REDIS_MOVED : begins(text, "ASK ") ? REDIS_ASK : REDIS_NO_MOVE;
        const char *p = text.p, *end = text.p + text.n, *colon;
        unsigned s, port;

        if (begins(text, "TRYAGAIN"))
                return REDIS_TRYAGAIN;
        if (begins(text, "CLUSTERDOWN The cluster"))
                return REDIS_DOWN;
        if (move == REDIS_NO_MOVE)
                return REDIS_NO_MOVE;
        p += move == REDIS_MOVED ? 6 : 4;
        if (!number(&p, end, REDIS_SLOTS - 1, &s) || p == end || *p++ != ' ')
                return REDIS_NO_MOVE;
        colon = p < end ? memrchr(p, ':', (size_t)(end - p)) : NULL;
        if (!colon)
                return REDIS_NO_MOVE;
        text = (struct pm_str){ p, (size_t)(colon - p) };
        p = colon + 1;
        if (!number(&p, end, 65535, &port) || p != end || host_and_port(text, port, from, to) < 0)
                return REDIS_NO_MOVE;
        *slot = s;
        return move;
}
