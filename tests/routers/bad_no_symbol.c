/* SPDX-License-Identifier: Apache-2.0 */
/* A library that exports something, but no router: must be refused when it is loaded. */
#include "pm_router.h"

PM_EXPORT int not_a_router(void);
int not_a_router(void)
{
        return 1;
}
