/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Axes with round steps, a line or dots for each series, a legend below the title.  Reads in black and white, too: lines differ in their dashes.
 */
#include <math.h>

#include "base.h"
#include "curve.h"

#define WIDE 640
#define HIGH 340
#define LEFT 64
#define TOP 78
#define RIGHT 150 /* names of the last points stand there */
#define BOTTOM 52
#define STEPS 6

static const char *const hues[CURVE_SERIES_MAX] = { "#1b4f72", "#c0392b", "#1e8449", "#b7950b", "#6c3483", "#566573", "#117a65", "#a04000" };
static const char *const dashes[CURVE_SERIES_MAX] = { "", "6 3", "2 3", "9 3 2 3", "12 4", "4 4", "1 3", "8 2 2 2" };

struct frame {
        double x_low, x_high, x_step, y_low, y_high, y_step;
};

static void put_escaped(FILE *f, const char *text)
{
        for (; *text; text++)
                switch (*text) {
                case '<': (void)fputs("&lt;", f); break;
                case '>': (void)fputs("&gt;", f); break;
                case '&': (void)fputs("&amp;", f); break;
                default: (void)fputc(*text, f);
                }
}

/* 1, 2 or 5 times a power of ten, of which about STEPS cover the range. */
static double round_step(double range)
{
        double raw = MAX(range, 1e-9) / STEPS, power = pow(10, floor(log10(raw)));

        return power * (raw / power <= 1 ? 1 : raw / power <= 2 ? 2 : raw / power <= 5 ? 5 : 10);
}

static void stretch(double v, double *low, double *high)
{
        *low = MIN(*low, v);
        *high = MAX(*high, v);
}

static struct frame frame_of(const struct curve *c)
{
        double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
        struct frame a;

        for (size_t s = 0; s < c->n_series; s++)
                for (size_t i = 0; i < c->series[s].n; i++)
                        if (isfinite(c->series[s].point[i].x) && isfinite(c->series[s].point[i].y)) {
                                stretch(c->series[s].point[i].x, &x_low, &x_high);
                                stretch(c->series[s].point[i].y, &y_low, &y_high);
                        }
        if (!isfinite(x_low))
                x_low = y_low = 0, x_high = y_high = 1;
        a.x_step = round_step(x_high - x_low);
        a.y_step = round_step(y_high - y_low);
        a.x_low = floor(x_low / a.x_step) * a.x_step;
        a.y_low = floor(y_low / a.y_step) * a.y_step;
        a.x_high = ceil(x_high / a.x_step + 1e-9) * a.x_step;
        a.y_high = ceil(y_high / a.y_step + 1e-9) * a.y_step;
        return a;
}

static double place_x(const struct frame *a, double x)
{
        return LEFT + WIDE * (x - a->x_low) / (a->x_high - a->x_low);
}

static double place_y(const struct frame *a, double y)
{
        return TOP + HIGH - HIGH * (y - a->y_low) / (a->y_high - a->y_low);
}

static int steps(double low, double high, double step)
{
        return (int)lround((high - low) / step);
}

static void draw_axes(FILE *f, const struct curve *c, const struct frame *a)
{
        for (int i = 0; i <= steps(a->x_low, a->x_high, a->x_step); i++) {
                double x = a->x_low + i * a->x_step;

                (void)fprintf(f, "<path d=\"M%.1f %dV%d\" stroke=\"#e5e5e5\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" fill=\"#555\">%.6g</text>\n",
                              place_x(a, x), TOP, TOP + HIGH, place_x(a, x), TOP + HIGH + 18, fabs(x) < a->x_step / 2 ? 0 : x);
        }
        for (int i = 0; i <= steps(a->y_low, a->y_high, a->y_step); i++) {
                double y = a->y_low + i * a->y_step;

                (void)fprintf(f, "<path d=\"M%d %.1fH%d\" stroke=\"#e5e5e5\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\" fill=\"#555\">%.6g</text>\n",
                              LEFT, place_y(a, y), LEFT + WIDE, LEFT - 8, place_y(a, y) + 4, fabs(y) < a->y_step / 2 ? 0 : y);
        }
        (void)fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", LEFT + WIDE / 2, TOP + HIGH + 40);
        put_escaped(f, c->x_name);
        (void)fprintf(f, "</text>\n<text x=\"16\" y=\"%d\" text-anchor=\"middle\" transform=\"rotate(-90 16 %d)\">", TOP + HIGH / 2, TOP + HIGH / 2);
        put_escaped(f, c->y_name);
        (void)fputs("</text>\n", f);
}

static void draw_series(FILE *f, const struct curve *c, const struct frame *a, size_t s)
{
        const struct curve_series *one = &c->series[s];
        int x = LEFT + 200 * (int)(s % 4), y = 42 + 18 * (int)(s / 4);
        bool begun = false;

        (void)fprintf(f, "<path d=\"M%d %dh22\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\"/><text x=\"%d\" y=\"%d\">", x, y, hues[s],
                      one->apart ? "1 5" : dashes[s], x + 28, y + 4);
        put_escaped(f, one->name);
        (void)fputs("</text>\n", f);
        if (!one->apart) {
                (void)fprintf(f, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"", hues[s], dashes[s]);
                for (size_t i = 0; i < one->n; i++)
                        if (isfinite(one->point[i].x) && isfinite(one->point[i].y)) {
                                (void)fprintf(f, "%c%.1f %.1f", begun ? 'L' : 'M', place_x(a, one->point[i].x), place_y(a, one->point[i].y));
                                begun = true;
                        }
                (void)fputs("\"/>\n", f);
        }
        for (size_t i = 0; i < one->n; i++) {
                if (!isfinite(one->point[i].x) || !isfinite(one->point[i].y))
                        continue;
                (void)fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\" fill=\"%s\"/>\n", place_x(a, one->point[i].x), place_y(a, one->point[i].y),
                              one->apart ? "3.5" : "2", hues[s]);
                if (one->point[i].name) {
                        (void)fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"10\" fill=\"%s\">", place_x(a, one->point[i].x) + 6,
                                      place_y(a, one->point[i].y) + 3, hues[s]);
                        put_escaped(f, one->point[i].name);
                        (void)fputs("</text>\n", f);
                }
        }
}

static void draw(FILE *f, const struct curve *c)
{
        struct frame a = frame_of(c);
        int width = LEFT + WIDE + RIGHT, height = TOP + HIGH + BOTTOM;

        (void)fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
                      "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"%d\" y=\"22\" font-size=\"15\">",
                      width, height, width, height, LEFT);
        put_escaped(f, c->title);
        (void)fputs("</text>\n", f);
        draw_axes(f, c, &a);
        for (size_t s = 0; s < c->n_series; s++)
                draw_series(f, c, &a, s);
        (void)fputs("</svg>\n", f);
}

int curve_write(const struct curve *c, const char *path)
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
