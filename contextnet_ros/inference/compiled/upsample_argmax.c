/* Upsample and argmax, exactly: what upsample_argmax.py does, for each cell in turn, in the order of
 * float32 operations of the dense computation. Plain C, called by compiled_argmax.py. */

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

enum { CORNERS = 4, MOST_CLASSES = 255, BLOCK = 8 };

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
            memcpy(label + y * stride + x, bytes, columns);
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
