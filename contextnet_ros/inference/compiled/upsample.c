/* From stride-8 logits to label and confidence of each pixel, a cell at a time: what upsample_argmax.py
 * does, in the order of float32 operations of the dense computation, and what upsample_confidence.py
 * does. Plain C, called by compiled_upsample.py. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Compiled for AVX2 beside the oldest processors, and chosen as the library is loaded. */
#define FOR_EACH_PROCESSOR
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__has_attribute)
#if __has_attribute(target_clones)
#undef FOR_EACH_PROCESSOR
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#endif
#endif

#define INLINE static inline __attribute__((always_inline))

enum { CORNERS = 4, MOST_CLASSES = 255, BLOCK = 8, NONE = 255 };

/* upsample.Axis: of each cell its two logits and its first pixel, the number of all pixels behind the
 * last; of each pixel the share of the second logit, with BLOCK - 1 more to read behind the last. */
typedef struct {
    int32_t cells;
    const int32_t *low, *high, *edge;
    const float *weight;
} Axis;

/* The classes that can win in a cell, ascending, and their logits at its corners. */
typedef struct {
    int count;
    int32_t name[MOST_CLASSES];
    float logit[MOST_CLASSES][CORNERS];
} Candidates;

/* Most blocks are whole, for which nothing is called. */
INLINE void put(const uint8_t bytes[BLOCK], int columns, uint8_t *target)
{
    if (columns == BLOCK)
        memcpy(target, bytes, BLOCK);
    else
        memcpy(target, bytes, columns);
}

/* The winning class at each logit of a row. */
INLINE void find_winners(const float *logits, int classes, size_t plane, int width, float *best,
                         uint8_t *winner)
{
    memcpy(best, logits, width * sizeof *best);
    memset(winner, 0, width);
    for (int class = 1; class < classes; class++) {
        const float *value = logits + class * plane;
        for (int x = 0; x < width; x++) {
            winner[x] = value[x] > best[x] ? class : winner[x];
            best[x] = value[x] > best[x] ? value[x] : best[x];
        }
    }
}

/* Those classes that none of the corners' winners beats at all four corners. */
INLINE void find_candidates(const float *const corner[CORNERS], const uint8_t winner[CORNERS],
                            int classes, size_t plane, Candidates *candidates)
{
    float ahead[CORNERS][CORNERS];
    for (int i = 0; i < CORNERS; i++)
        for (int k = 0; k < CORNERS; k++)
            ahead[i][k] = corner[k][winner[i] * plane];
    int count = 0;
    for (int class = 0; class < classes; class++) {
        float *logit = candidates->logit[count];
        for (int k = 0; k < CORNERS; k++)
            logit[k] = corner[k][class * plane];
        int beaten = 0;
        for (int i = 0; i < CORNERS; i++)
            beaten |= (logit[0] < ahead[i][0]) & (logit[1] < ahead[i][1]) &
                      (logit[2] < ahead[i][2]) & (logit[3] < ahead[i][3]);
        candidates->name[count] = class;
        count += !beaten;
    }
    candidates->count = count;
}

/* The winner of each pixel of a cell, some columns at a time: as many as a vector has. */
INLINE void evaluate(const Candidates *candidates, const float *weight_y, int height,
                     const float *weight_x, int width, uint8_t *label, size_t stride)
{
    float top[MOST_CLASSES][BLOCK], bottom[MOST_CLASSES][BLOCK];
    for (int x = 0; x < width; x += BLOCK) {
        for (int i = 0; i < candidates->count; i++) {
            const float *logit = candidates->logit[i];
            for (int k = 0; k < BLOCK; k++) {
                const float share = weight_x[x + k];
                top[i][k] = logit[0] * (1 - share) + logit[1] * share;
                bottom[i][k] = logit[2] * (1 - share) + logit[3] * share;
            }
        }
        const int columns = width - x < BLOCK ? width - x : BLOCK;
        for (int y = 0; y < height; y++) {
            const float share = weight_y[y];
            float best[BLOCK];
            int32_t name[BLOCK];
            uint8_t bytes[BLOCK];
            for (int k = 0; k < BLOCK; k++) {
                best[k] = top[0][k] * (1 - share) + bottom[0][k] * share;
                name[k] = candidates->name[0];
            }
            for (int i = 1; i < candidates->count; i++)
                for (int k = 0; k < BLOCK; k++) {
                    const float value = top[i][k] * (1 - share) + bottom[i][k] * share;
                    name[k] = value > best[k] ? candidates->name[i] : name[k];
                    best[k] = value > best[k] ? value : best[k];
                }
            for (int k = 0; k < BLOCK; k++)
                bytes[k] = name[k];
            put(bytes, columns, label + y * stride + x);
        }
    }
}

/* Write the labels of the rows of cells from `begin` to before `end`.
 *
 * `logits`: (classes, height, width), 1 to MOST_CLASSES classes. `winners`, `best`: room for 2 * width
 * and width values. `label`: (pixels of rows, pixels of columns); a part of it for each caller, so
 * that several may run at once, each with room of its own. */
FOR_EACH_PROCESSOR
void upsample_argmax(const float *logits, int32_t classes, int32_t height, int32_t width,
                     const Axis *rows, const Axis *columns, int32_t begin, int32_t end,
                     uint8_t *winners, float *best, uint8_t *label)
{
    const size_t plane = (size_t)height * width, stride = columns->edge[columns->cells];
    uint8_t *above = winners, *below = winners + width;
    int row_below = -1;
    Candidates candidates;
    for (int row = begin; row < end; row++) {
        const float *top = logits + (size_t)rows->low[row] * width;
        const float *bottom = logits + (size_t)rows->high[row] * width;
        if (rows->low[row] == row_below) {
            uint8_t *known = below;
            below = above;
            above = known;
        } else {
            find_winners(top, classes, plane, width, best, above);
        }
        row_below = rows->high[row];
        find_winners(bottom, classes, plane, width, best, below);

        const int first = rows->edge[row], last = rows->edge[row + 1];
        uint8_t *line = label + first * stride;
        /* As if all cells had one winner: most have. */
        for (int column = 0; column < columns->cells; column++) {
            const int x = columns->edge[column];
            memset(line + x, above[columns->low[column]], columns->edge[column + 1] - x);
        }
        for (int y = first + 1; y < last; y++)
            memcpy(label + y * stride, line, stride);

        for (int column = 0; column < columns->cells; column++) {
            const int left = columns->low[column], right = columns->high[column];
            const uint8_t winner[] = {above[left], above[right], below[left], below[right]};
            if (winner[0] == winner[1] && winner[0] == winner[2] && winner[0] == winner[3])
                continue;
            const float *const corner[] = {top + left, top + right, bottom + left, bottom + right};
            find_candidates(corner, winner, classes, plane, &candidates);
            const int x = columns->edge[column];
            evaluate(&candidates, rows->weight + first, last - first, columns->weight + x,
                     columns->edge[column + 1] - x, line + x, stride);
        }
    }
}

/* e to the x, to a few units in the last place; within -87 to 87, as nothing here is outside. */
INLINE float exponential(float x)
{
    const float rounder = 12582912; /* 1.5 * 2^23: no fraction is left behind it */
    const float n = x * 1.44269504f + rounder - rounder;
    const float rest = x - n * 0.693359375f + n * 2.12194440e-4f;
    float power = 1.9875691500e-4f;
    power = power * rest + 1.3981999507e-3f;
    power = power * rest + 8.3334519073e-3f;
    power = power * rest + 4.1665795894e-2f;
    power = power * rest + 1.6666665459e-1f;
    power = power * rest + 5.0000001201e-1f;
    power = power * rest * rest + rest + 1;
    const union { uint32_t bits; float value; } scale = {(uint32_t)((int32_t)n + 127) << 23};
    return power * scale.value;
}

/* The class at each logit of a row that has 255 of 255 there, or NONE. */
INLINE void find_certain(const float *lag, int classes, size_t plane, int width, float *total,
                         uint8_t *certain)
{
    for (int x = 0; x < width; x++) {
        total[x] = 0;
        certain[x] = NONE;
    }
    for (int class = 0; class < classes; class++) {
        const float *value = lag + class * plane;
        for (int x = 0; x < width; x++) {
            total[x] += exponential(value[x]);
            certain[x] = value[x] == 0 ? class : certain[x];
        }
    }
    for (int x = 0; x < width; x++)
        certain[x] = total[x] < 255 / 254.501f ? certain[x] : NONE;
}

/* The confidence of each pixel of a cell. Down a column of pixels interpolated logits are linear, so
 * that their exponentials differ by a factor. */
INLINE void weigh(const float *const corner[CORNERS], int classes, size_t plane, float first_y,
                  float spacing, int height, const float *weight_x, int width, uint8_t *confidence,
                  size_t stride)
{
    float value[MOST_CLASSES][BLOCK], factor[MOST_CLASSES][BLOCK];
    for (int x = 0; x < width; x += BLOCK) {
        for (int class = 0; class < classes; class++) {
            float logit[CORNERS];
            for (int k = 0; k < CORNERS; k++)
                logit[k] = corner[k][class * plane];
            for (int k = 0; k < BLOCK; k++) {
                const float share = weight_x[x + k];
                const float top = logit[0] * (1 - share) + logit[1] * share;
                const float bottom = logit[2] * (1 - share) + logit[3] * share;
                value[class][k] = exponential(top * (1 - first_y) + bottom * first_y);
                factor[class][k] = exponential((bottom - top) * spacing);
            }
        }
        const int columns = width - x < BLOCK ? width - x : BLOCK;
        for (int y = 0; y < height; y++) {
            float largest[BLOCK] = {0}, total[BLOCK] = {0};
            uint8_t bytes[BLOCK];
            for (int class = 0; class < classes; class++)
                for (int k = 0; k < BLOCK; k++) {
                    const float share = value[class][k];
                    total[k] += share;
                    largest[k] = share > largest[k] ? share : largest[k];
                    value[class][k] = share * factor[class][k];
                }
            for (int k = 0; k < BLOCK; k++)
                bytes[k] = (int32_t)(255 * largest[k] / total[k] + 0.5f);
            put(bytes, columns, confidence + y * stride + x);
        }
    }
}

/* Write 255 times the largest softmax, rounded, for the rows of cells from `begin` to before `end`.
 *
 * As upsample_argmax, but for `lag`, the logits less the largest of their place, and `spacing`, what
 * the weight of rows->weight grows by from one pixel to the next. Differences within a cell are less
 * than exponential takes. `certain`, `total`: room for 2 * width and width values.
 *
 * Where the corners have one winner, it has its least share at one of them: along an axis the others'
 * exponentials over its own are convex. */
FOR_EACH_PROCESSOR
void upsample_confidence(const float *lag, int32_t classes, int32_t height, int32_t width,
                         const Axis *rows, const Axis *columns, float spacing, int32_t begin,
                         int32_t end, uint8_t *certain, float *total, uint8_t *confidence)
{
    const size_t plane = (size_t)height * width, stride = columns->edge[columns->cells];
    uint8_t *above = certain, *below = certain + width;
    for (int row = begin; row < end; row++) {
        const float *top = lag + (size_t)rows->low[row] * width;
        const float *bottom = lag + (size_t)rows->high[row] * width;
        find_certain(top, classes, plane, width, total, above);
        find_certain(bottom, classes, plane, width, total, below);
        const int first = rows->edge[row], last = rows->edge[row + 1];
        uint8_t *line = confidence + first * stride;
        for (int column = 0; column < columns->cells; column++) {
            const int left = columns->low[column], right = columns->high[column];
            const int x = columns->edge[column], behind = columns->edge[column + 1];
            if (above[left] != NONE && above[left] == above[right] && above[left] == below[left] &&
                above[left] == below[right]) {
                for (int y = 0; y < last - first; y++)
                    memset(line + y * stride + x, 255, behind - x);
                continue;
            }
            const float *const corner[] = {top + left, top + right, bottom + left, bottom + right};
            weigh(corner, classes, plane, rows->weight[first], spacing, last - first,
                  columns->weight + x, behind - x, line + x, stride);
        }
    }
}
