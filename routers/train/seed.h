/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PM_SEED_H
#define PM_SEED_H

/* Sets the C library's generator, from which liblinear shuffles; nothing else of ours may draw from it. */
void seed_set(unsigned seed);
#endif
