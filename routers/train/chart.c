/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drawn by hand: a scale on the left, bars with their values, a legend.  Reads in black and white too: the series are of one hue.
 */
#include "base.h"
#include "chart.h"

#define BAR 26
#define GAP 22
#define LEFT 56
#define TOP 64
#define HIGH 280
#define BOTTOM 56

static const char *const hues[CHART_SERIES_MAX] = { "#1b4f72", "#5499c7", "#a9cce3", "#d4e6f1" };

static void draw(FILE *f, const struct chart *c)
{
        double top = .1;
        int group, width;

        for (size_t g = 0; g < c->n_groups; g++)
                for (size_t s = 0; s < c->n_series; s++)
                        while (c->group[g].value[s] > top && top < 1)
                                top += .1;
        group = (int)c->n_series * BAR + GAP;
        width = LEFT + (int)c->n_groups * group + GAP;
        (void)fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
                      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
                      "<text x=\"%d\" y=\"24\" font-size=\"15\">%s</text>\n", width, TOP + HIGH + BOTTOM, width, TOP + HIGH + BOTTOM, LEFT,
                      c->title);
        for (int line = 0; line * .1 <= top + 1e-9; line++) {
                int y = TOP + HIGH - (int)(HIGH * line * .1 / top);

                (void)fprintf(f, "<path d=\"M%d %dH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#555\">%.1f"
                              "</text>\n", LEFT, y, width - GAP, LEFT - 8, y + 4, line * .1);
        }
        for (size_t s = 0; s < c->n_series; s++)
                (void)fprintf(f, "<rect x=\"%d\" y=\"36\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"%d\" y=\"46\">%s</text>\n",
                              LEFT + 70 * (int)s, hues[s], LEFT + 70 * (int)s + 17, c->series[s]);
        for (size_t g = 0; g < c->n_groups; g++) {
                int x = LEFT + GAP / 2 + (int)g * group;

                for (size_t s = 0; s < c->n_series; s++) {
                        double value = MIN(MAX(c->group[g].value[s], 0), top);
                        int high = (int)(HIGH * value / top);

                        (void)fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\"/><text x=\"%d\" y=\"%d\" "
                                      "font-size=\"9\" text-anchor=\"middle\">%.3f</text>\n", x + (int)s * BAR, TOP + HIGH - high, BAR - 2,
                                      high, hues[s], x + (int)s * BAR + BAR / 2 - 1, TOP + HIGH - high - 4, c->group[g].value[s]);
                }
                (void)fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x + (int)c->n_series * BAR / 2,
                              TOP + HIGH + 20, c->group[g].name);
        }
        (void)fprintf(f, "</svg>\n");
}

int chart_write(const struct chart *c, const char *path)
{
        FILE *f = fopen(path, "we");
        int r = 0;

        if (!f)
                return -errno;
        draw(f, c);
        if (ferror(f))
                r = -EIO;
        if (fclose(f) != 0)
                r = -EIO;
        return r;
}
