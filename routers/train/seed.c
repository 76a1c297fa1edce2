/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one file outside the ban list of base.h: liblinear's dual solver shuffles with the C library's rand(), and a model can
 * only be rebuilt bit for bit if that begins at a known place.
 */
#include <stdlib.h>

#include "seed.h"

void seed_set(unsigned seed)
{
        srand(seed);
}
