/* SPDX-License-Identifier: Apache-2.0 */
/* Who a key belongs to, whatever form it was stored in, and how many requests they have in flight. */
#include <criterion/criterion.h>
#include <stdatomic.h>

#include "tenant.h"

#include "base.h"

#define KEY_A "0123456789abcdef"
#define KEY_B "sk-tenant-b-0123456789"
/* Its hash was made elsewhere: printf '\x01\x23\x45\x67\x89\xab\xcd\xefakeythatislongenough' | sha256sum */
#define KEY_C "akeythatislongenough"

static struct arena arena;
static struct tenants *all;
static struct tenant *a, *b;

static void setup(void)
{
        arena_init(&arena, NULL, SIZE_MAX);
        all = tenants_create(&arena);
        a = tenants_add(all, "a");
        b = tenants_add(all, "b");
        cr_assert(all && a && b);
}

static void teardown(void)
{
        arena_finish(&arena);
}

static const char *find(const char *header)
{
        struct tenant *t;
        int e = tenants_find(all, (struct pm_str){ header, strlen(header) }, &t);

        cr_assert(e == 0 || e == -ENOENT);
        return e == 0 ? t->name : "nobody";
}

Test(tenant, keys, .init = setup, .fini = teardown)
{
        cr_assert_eq(tenants_add_key(all, a, KEY_A), 0);
        cr_assert_eq(tenants_add_key(all, b, KEY_B), 0);
        cr_expect_str_eq(find("Bearer " KEY_A), "a");
        cr_expect_str_eq(find("bearer " KEY_B), "b");
        cr_expect_str_eq(find("BEARER \t " KEY_B " \t"), "b");
        cr_expect_str_eq(find("Bearer " KEY_A "x"), "nobody");
        cr_expect_str_eq(find("Bearer 0123456789abcde"), "nobody");
        cr_expect_str_eq(find("Bearer 0123456789abcdeF"), "nobody");
        cr_expect_str_eq(find("Bearer" KEY_A), "nobody");
        cr_expect_str_eq(find("Basic " KEY_A), "nobody");
        cr_expect_str_eq(find(KEY_A), "nobody");
        cr_expect_str_eq(find("Bearer"), "nobody");
        cr_expect_str_eq(find("Bearer "), "nobody");
        cr_expect_str_eq(find("Bearer    "), "nobody");
        cr_expect_str_eq(find(""), "nobody");
        cr_expect_eq(tenants_find(all, (struct pm_str){ NULL, 0 }, &(struct tenant *){ NULL }), -ENOENT);
}

Test(tenant, what_is_no_key, .init = setup, .fini = teardown)
{
        char longest[TENANT_KEY_MAX + 2], header[sizeof longest + 16];

        cr_expect_eq(tenants_add_key(all, a, ""), -EINVAL);
        cr_expect_eq(tenants_add_key(all, a, "0123456789abcde"), -EINVAL);
        cr_expect_eq(tenants_add_key(all, a, "0123456789abcdef ghi"), -EINVAL);
        cr_expect_eq(tenants_add_key(all, a, "0123456789abcdef\n"), -EINVAL);
        cr_expect_eq(tenants_add_key(all, a, "0123456789abcd\xc3\xa4"), -EINVAL);
        memset(longest, 'k', sizeof longest);
        longest[TENANT_KEY_MAX + 1] = '\0';
        cr_expect_eq(tenants_add_key(all, a, longest), -EINVAL);
        longest[TENANT_KEY_MAX] = '\0';
        cr_assert_eq(tenants_add_key(all, a, longest), 0);
        (void)snprintf(header, sizeof header, "Bearer %s", longest);
        cr_expect_str_eq(find(header), "a");
        (void)snprintf(header, sizeof header, "Bearer %sk", longest); /* one more, though its first bytes are right */
        cr_expect_str_eq(find(header), "nobody");
}

Test(tenant, hashes, .init = setup, .fini = teardown)
{
        static const char known[] = "sha256:0123456789abcdef:1e14a568007f6c686e307c48036051726ece3c1cba79e4a3ff532ec9e20968d3";
        char text[TENANT_HASH_TEXT], small[104];

        cr_assert_eq(tenants_add_hash(all, a, known), 0);
        cr_expect_str_eq(find("Bearer " KEY_C), "a");
        cr_assert_eq(tenant_hash_key(KEY_B, text, sizeof text), 0);
        cr_assert_eq(tenants_add_hash(all, b, text), 0);
        cr_expect_str_eq(find("Bearer " KEY_B), "b");
        cr_expect_str_eq(find("Bearer " KEY_A), "nobody");
        cr_expect_eq(tenant_hash_key("short", text, sizeof text), -EINVAL);
        cr_expect_eq(tenant_hash_key(KEY_B, small, sizeof small), -ENOSPC);
}

Test(tenant, what_is_no_hash, .init = setup, .fini = teardown)
{
        static const char *const wrong[] = {
                "", "sha256", "sha256:", "sha256::", "sha256:0123456789abcdef", "sha256:0123456789abcdef:", "sha256:0123456789abcdef:00",
                "md5:0123456789abcdef:0000000000000000000000000000000000000000000000000000000000000000",
                "sha256:0123456789abcd:0000000000000000000000000000000000000000000000000000000000000000",
                "sha256:0123456789abcde:0000000000000000000000000000000000000000000000000000000000000000",
                "sha256:0123456789abcdeg:0000000000000000000000000000000000000000000000000000000000000000",
                "sha256:0123456789abcdef:000000000000000000000000000000000000000000000000000000000000000g",
                "sha256:0123456789abcdef:00000000000000000000000000000000000000000000000000000000000000000",
                "sha256:00000000000000000000000000000000000000000000000000000000000000000:0000000000000000000000000000000000000000000000000000"
                "000000000000",
        };

        for (size_t i = 0; i < LENGTH_OF(wrong); i++)
                cr_expect_eq(tenants_add_hash(all, a, wrong[i]), -EINVAL, "%s", wrong[i]);
}

Test(tenant, nobody_shares_a_key, .init = setup, .fini = teardown)
{
        char text[TENANT_HASH_TEXT];

        cr_assert_eq(tenant_hash_key(KEY_A, text, sizeof text), 0);
        cr_assert_eq(tenants_add_hash(all, a, text), 0);
        cr_expect_eq(tenants_add_hash(all, b, text), -EEXIST);
        cr_expect_eq(tenants_add_key(all, b, KEY_A), -EEXIST);
        cr_assert_eq(tenants_add_key(all, a, KEY_B), 0);
        cr_expect_eq(tenants_add_key(all, a, KEY_B), -EEXIST);
        cr_expect_eq(tenants_add_key(all, b, KEY_B), -EEXIST);
        cr_expect_str_eq(find("Bearer " KEY_B), "a");
}

Test(tenant, many, .init = setup, .fini = teardown)
{
        struct tenant *owners[50];
        char key[64], name[16];

        for (int i = 0; i < 1000; i++) {
                (void)snprintf(name, sizeof name, "t%d", i % 50);
                if (i < 50)
                        owners[i] = tenants_add(all, name);
                (void)snprintf(key, sizeof key, "key-of-somebody-%d", i);
                cr_assert_eq(tenants_add_key(all, owners[i % 50], key), 0);
        }
        for (int i = 0; i < 1000; i++) {
                (void)snprintf(name, sizeof name, "t%d", i % 50);
                (void)snprintf(key, sizeof key, "Bearer key-of-somebody-%d", i);
                cr_assert_str_eq(find(key), name);
        }
        cr_expect_str_eq(find("Bearer key-of-somebody-1000"), "nobody");
}

Test(tenant, in_flight, .init = setup, .fini = teardown)
{
        struct tenant *again;
        struct arena next;

        a->max_in_flight = 2;
        cr_expect(tenant_enter(a));
        cr_expect(tenant_enter(a));
        cr_expect_not(tenant_enter(a));
        cr_expect_eq(atomic_load(a->in_flight), 2);
        cr_expect(tenant_enter(b)); /* no limit, and its own counter */
        tenant_leave(b);

        arena_init(&next, NULL, SIZE_MAX); /* a reload: the requests still run */
        again = tenants_add(tenants_create(&next), "a");
        again->max_in_flight = 3;
        cr_expect(tenant_enter(again));
        cr_expect_not(tenant_enter(again));
        tenant_leave(a);
        tenant_leave(a);
        tenant_leave(again);
        cr_expect_eq(atomic_load(again->in_flight), 0);
        arena_finish(&next);
}

Test(tenant, what_may_be_used, .init = setup, .fini = teardown)
{
        /* only their addresses count */
        struct expert *e = (void *)&arena, *f = (void *)&all;
        struct route *r = (void *)&arena, *s = (void *)&all;
        struct expert *experts[] = { e };
        struct route *routes[] = { r };

        cr_expect(tenant_may_use(NULL, e));
        cr_expect(tenant_may_ask(NULL, r));
        cr_expect(tenant_may_use(a, e));
        cr_expect(tenant_may_ask(a, r));
        a->experts = experts;
        a->routes = routes;
        a->n_experts = a->n_routes = 1;
        cr_expect(tenant_may_use(a, e));
        cr_expect_not(tenant_may_use(a, f));
        cr_expect(tenant_may_ask(a, r));
        cr_expect_not(tenant_may_ask(a, s));
}
