/* SPDX-License-Identifier: Apache-2.0 */
/* template.so: the smallest complete router, which the guide starts with. */
#include "on_mockhost.h"

Test(template, sends_everything_to_its_expert)
{
        struct mock_result r;
        struct on o;

        cr_assert_eq(on_open(&o, "PM_ROUTERS", "template", "{\"expert\": \"large\"}", NULL), 0, "%s", o.why);
        r = on_ask(&o, "anything");
        cr_assert_eq(r.end, MOCK_DECIDED);
        cr_assert_str_eq(r.expert, "large");
        mock_result_finish(&r);
        on_close(&o);
}

Test(template, refuses_an_expert_that_is_not_configured)
{
        struct on o;

        cr_assert_eq(on_open(&o, "PM_ROUTERS", "template", "{\"expert\": \"lagre\"}", NULL), -EINVAL);
        cr_assert_str_eq(o.why, "router 'template': no expert is called 'lagre'");
        on_close(&o);
        cr_assert_eq(on_open(&o, "PM_ROUTERS", "template", NULL, NULL), -EINVAL);
        cr_assert_str_eq(o.why, "template: key 'expert' is required (expert that gets every request)\n");
        on_close(&o);
}
