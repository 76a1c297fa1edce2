/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte says how many items stay; the rest is a history.  What is read lies inside; pushed one by one, the oldest first, it is
 * the same bytes again; one more item comes first and drives out the oldest only.
 */
#include "history_codec.h"

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ITEMS 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static char lists[2][HISTORY_MAX];
        struct pm_str items[ITEMS], again[ITEMS], in = { (const char *)data + 1, size - 1 }, list = { lists[0], 0 };
        size_t n, m, keep, whole = 0;

        if (size == 0)
                return 0;
        keep = data[0];
        n = history_decode(in, items, keep);
        assert(n <= keep);
        for (size_t i = 0; i < n; i++) {
                assert(items[i].p >= in.p && items[i].p + items[i].n <= in.p + in.n);
                whole += 2 + items[i].n;
        }
        assert(whole <= in.n);
        for (size_t i = 0; i < n; i++)
                if (items[i].n == 0 || items[i].n > HISTORY_ITEM_MAX || whole > HISTORY_MAX)
                        return 0;
        for (size_t i = n; i-- > 0;) {
                char *out = lists[list.p == lists[0]];

                list = (struct pm_str){ out, history_push(list, items[i], n, out) };
        }
        assert(list.n == whole && memcmp(list.p, in.p, whole) == 0);
        if (keep == 0)
                return 0;
        list.n = history_push(in, (struct pm_str){ "new", 3 }, keep, lists[list.p == lists[0]]);
        list.p = lists[list.p == lists[0]];
        m = history_decode(list, again, ITEMS);
        assert(m >= 1 && m <= keep && m <= n + 1 && again[0].n == 3 && memcmp(again[0].p, "new", 3) == 0);
        for (size_t i = 1; i < m; i++)
                assert(again[i].n == items[i - 1].n && memcmp(again[i].p, items[i - 1].p, again[i].n) == 0);
        return 0;
}
