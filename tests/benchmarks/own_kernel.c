/* The paper's YOLO loss in plain C, as somebody else's kernel might be: an example for
   `python -m benchmarks.conformance --kernel=FILE.so` (benchmarks/README.md).

       cc -O2 -shared -fPIC -o mine.so tests/benchmarks/own_kernel.c -lm

   With -DSIGN or -DNO_ROOT it is wrong, for the tests. */

#include <math.h>
#include <stdint.h>

/* With NaN where either is. */
#define MAX(a, b) ((a) != (a) || (a) > (b) ? (a) : (b))
#define MIN(a, b) ((a) != (a) || (a) < (b) ? (a) : (b))

/* Overlap of a predicted box, whose outputs are square roots of its size, with an object; 0 for
 * NaN. */
static float overlap(const float* p, const float* t, float S) {
  float w = p[2] * p[2], h = p[3] * p[3];
  float left = MAX(p[0] / S - w / 2, t[0] / S - t[2] / 2);
  float right = MIN(p[0] / S + w / 2, t[0] / S + t[2] / 2);
  float top = MAX(p[1] / S - h / 2, t[1] / S - t[3] / 2);
  float bottom = MIN(p[1] / S + h / 2, t[1] / S + t[3] / 2);
  float width = MAX(right - left, 0), height = MAX(bottom - top, 0);
  float both = width * height, iou = both / (w * h + t[2] * t[3] - both);
  return iou != iou ? 0 : iou;
}

/* (value - target)^2 with a weight; its derivative goes to *gradient. */
static float squared(float value, float target, float weight, float* gradient) {
  *gradient = 2 * weight * (value - target);
  return weight * (value - target) * (value - target);
}

int yolo_loss(const float* predictions,                                /* [N, S, S, C + 5 B] */
              const float* targets,                                    /* [N, S, S, C + 5] */
              int64_t N, int64_t S, int64_t B, int64_t C, float* loss, /* [N] */
              float* gradient) /* like the predictions */ {
  int64_t D = C + 5 * B;
  for (int64_t n = 0; n < N; ++n) {
    float sum = 0;
    for (int64_t cell = n * S * S; cell < (n + 1) * S * S; ++cell) {
      const float *p = predictions + cell * D, *t = targets + cell * (C + 5);
      float* g = gradient + cell * D;
      int64_t best = -1;
      float best_iou = 0;
      for (int64_t d = 0; d < D; ++d) g[d] = 0;
      if (t[C] != 0) {
        sum += t[C] - t[C]; /* NaN for a flag that is not finite */
        for (int64_t c = 0; c < C; ++c) sum += squared(p[c], t[c], 1, g + c);
        for (int64_t b = 0; b < B; ++b) {
          float iou = overlap(p + C + B + 4 * b, t + C + 1, (float)S);
          if (best < 0 || iou > best_iou) best = b, best_iou = iou;
        }
      }
      for (int64_t b = 0; b < B; ++b) {
        int64_t box = C + B + 4 * b;
        if (b != best) {
          sum += squared(p[C + b], 0, 0.5f, g + C + b);
          continue;
        }
        sum += squared(p[C + b], best_iou, 1, g + C + b);
        for (int k = 0; k < 4; ++k) {
          float target = t[C + 1 + k];
#ifndef NO_ROOT
          if (k >= 2) target = sqrtf(target);
#endif
          sum += squared(p[box + k], target, 5, g + box + k);
        }
#ifdef SIGN
        g[C + b] = -g[C + b];
#endif
      }
    }
    loss[n] = sum;
  }
  return 0;
}
