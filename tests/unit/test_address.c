/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "address.h"

#include "base.h"

static struct pm_str str(const char *text)
{
        return (struct pm_str){ text, strlen(text) };
}

Test(address, accepted_and_written_in_one_way)
{
        static const struct {
                const char *text;
                unsigned default_port;
                const char *host;
                unsigned port;
                const char *written;
                bool v6, numeric, loopback;
        } rows[] = {
                { "localhost", 80, "localhost", 80, "localhost:80", false, false, true },
                { "Experts.Example:9001", 80, "experts.example", 9001, "experts.example:9001", false, false, false },
                { "127.1.2.3:65535", 0, "127.1.2.3", 65535, "127.1.2.3:65535", false, true, true },
                { "0.0.0.0:0", 0, "0.0.0.0", 0, "0.0.0.0:0", false, true, false },
                { "[::1]", 6379, "::1", 6379, "[::1]:6379", true, true, true },
                { "[0:0:0:0:0:0:0:1]:1", 80, "::1", 1, "[::1]:1", true, true, true },
                { "[::FFFF:127.0.0.1]:1", 80, "::ffff:127.0.0.1", 1, "[::ffff:127.0.0.1]:1", true, true, true },
                { "[2001:DB8::1]:00443", 80, "2001:db8::1", 443, "[2001:db8::1]:443", true, true, false },
                { "a_b-c.d.:1", 0, "a_b-c.d.", 1, "a_b-c.d.:1", false, false, false },
                { "127.1:1", 0, "127.1", 1, "127.1:1", false, false, false },
        };
        char text[ADDRESS_TEXT_MAX];

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                struct host_port a;
                const char *why = "";

                cr_assert_eq(address_parse(str(rows[i].text), rows[i].default_port, &a, &why), 0, "%s: %s", rows[i].text, why);
                cr_assert_str_eq(a.host, rows[i].host);
                cr_assert_eq(a.port, rows[i].port, "%s", rows[i].text);
                cr_assert_eq(a.v6, rows[i].v6, "%s", rows[i].text);
                cr_assert_str_eq(address_text(&a, text, sizeof text), rows[i].written);
                cr_assert_eq(address_is_numeric(&a), rows[i].numeric, "%s", rows[i].text);
                cr_assert_eq(address_is_loopback(&a), rows[i].loopback, "%s", rows[i].text);
        }
}

Test(address, refused_with_the_reason)
{
        static const struct {
                const char *text;
                unsigned default_port;
                const char *why;
        } rows[] = {
                { "", 80, "no host name" }, { ":80", 80, "no host name" }, { "[]:80", 80, "no host name" },
                { "h", 0, "the port is missing" }, { "[::1]", 0, "the port is missing" },
                { "h:", 80, "the port must be 1..65535" }, { "h:0", 80, "the port must be 1..65535" }, { "h:", 0, "the port must be 0..65535" },
                { "h:65536", 0, "the port must be 0..65535" }, { "h:http", 0, "the port must be 0..65535" },
                { "h:-1", 0, "the port must be 0..65535" }, { "h:100000", 80, "the port must be 1..65535" },
                { "::1", 80, "an IPv6 address must be in brackets: [::1]:8080" }, { "::1:80", 0, "an IPv6 address must be in brackets: [::1]:8080" },
                { "[::1", 80, "'[' without ']'" }, { "[", 80, "'[' without ']'" }, { "[::1]80", 80, "after ']' only ':port' may follow" },
                { "[::1%eth0]", 80, "not an IPv6 address in the brackets" }, { "[127.0.0.1]", 80, "not an IPv6 address in the brackets" },
                { "a..b", 80, "not a host name: letters, digits, '-', '_' and single dots are allowed" },
                { ".b", 80, "not a host name: letters, digits, '-', '_' and single dots are allowed" },
                { "no such host", 80, "not a host name: letters, digits, '-', '_' and single dots are allowed" },
                { "h\xc3\xa4", 80, "not a host name: letters, digits, '-', '_' and single dots are allowed" },
        };
        struct host_port a = { .port = 7 };
        const char *why;
        char host[ADDRESS_HOST_MAX + 1];

        for (size_t i = 0; i < LENGTH_OF(rows); i++) {
                why = NULL;
                cr_assert_eq(address_parse(str(rows[i].text), rows[i].default_port, &a, &why), -EINVAL, "%s", rows[i].text);
                cr_assert(why && strcmp(why, rows[i].why) == 0, "%s: '%s', expected '%s'", rows[i].text, why, rows[i].why);
        }
        cr_assert_eq(address_parse((struct pm_str){ "a\0b", 3 }, 80, &a, &why), -EINVAL, "a NUL byte");
        cr_assert_eq(address_parse((struct pm_str){ "[::1\0]", 6 }, 80, &a, &why), -EINVAL, "a NUL byte");
        for (size_t i = 0; i < sizeof host; i++)
                host[i] = i % 2 ? '.' : 'a';
        cr_assert_eq(address_parse((struct pm_str){ host, sizeof host }, 80, &a, &why), -EINVAL, "254 characters");
        cr_assert_str_eq(why, "the host name is longer than 253 characters");
        cr_assert(a.port == 7 && !a.host[0], "touched on failure");
        cr_assert_eq(address_parse((struct pm_str){ host, sizeof host - 1 }, 80, &a, &why), 0, "253 characters");
        memset(host, 'a', 64);
        cr_assert_eq(address_parse((struct pm_str){ host, 64 }, 80, &a, &why), -EINVAL, "a label of 64");
        cr_assert_eq(address_parse((struct pm_str){ host, 63 }, 80, &a, &why), 0, "a label of 63");
}

Test(address, host_and_port_apart)
{
        struct host_port a = { .port = 7 };

        cr_assert_eq(address_set(&a, str("::1"), 6379), 0);
        cr_assert(a.v6 && a.port == 6379 && strcmp(a.host, "::1") == 0);
        cr_assert_eq(address_set(&a, str("Cache.Example"), 1), 0);
        cr_assert(!a.v6 && a.port == 1 && strcmp(a.host, "cache.example") == 0);
        cr_assert_eq(address_set(&a, str("[::1]"), 6379), -EINVAL);
        cr_assert_eq(address_set(&a, str("?"), 6379), -EINVAL);
        cr_assert_eq(address_set(&a, str(""), 6379), -EINVAL);
        cr_assert_eq(address_set(&a, (struct pm_str){ NULL, 0 }, 6379), -EINVAL);
        cr_assert_eq(address_set(&a, str("h"), 0), -EINVAL);
        cr_assert_eq(address_set(&a, str("h"), 65536), -EINVAL);
        cr_assert_eq(address_set(&a, str("h"), (1LL << 32) + 80), -EINVAL);
        cr_assert_eq(a.port, 1u, "touched on failure");
}
