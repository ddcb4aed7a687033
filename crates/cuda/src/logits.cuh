// Logits of attention and their running softmax: what kernels on the matrix units share. T is the type of masks.
// Logits are in units of log2, so that exp2 serves. Nothing here is a kernel.
// G: t, s, h, g, keys of a span, spans, strides of q (b, h, t), k (b, g, s), v (b, g, s), mask (b, h, t, s),
// FLAGS: 1 causal, 2 bool mask, 4 additive mask, 8 sinks.
struct G { i64 v[64]; };
#define LOG2E 1.4426950408889634f

// Masks the two neighbouring logits of key c of query i; `visible` is the number of keys that i sees.
__forceinline__ void mask_pair(float* x, i64 c, i64 visible, int flags, const void* mask, i64 at, i64 step) {
#pragma unroll
  for (int e = 0; e < 2; e++) {
    if (c + e >= visible) { x[e] = -INFINITY_F; continue; }
    if (flags & 2) x[e] = ((const bool*)mask)[at + (c + e) * step] ? x[e] : -INFINITY_F;
    if (flags & 4) x[e] += widen(((const T*)mask)[at + (c + e) * step]) * LOG2E;
  }
}

// Replaces logits by weights and updates the running maximum and sum of two rows; returns in `keep` the
// factors for what was summed before. Columns: 8 for each of N tiles.
template <int N> __forceinline__ void soften(float (*x)[4], float* top, float* sum, float* keep) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float high = top[r];
#pragma unroll
    for (int j = 0; j < N; j++) high = fmaxf(high, fmaxf(x[j][2 * r], x[j][2 * r + 1]));
    high = quad_max(high);
    // A row that saw no key yet has the maximum -inf; 0 in its place keeps NaN out.
    float base = high == -INFINITY_F ? 0.f : high;
    keep[r] = exp2_of(top[r] - base);
    top[r] = high;
    float part = 0.f;
#pragma unroll
    for (int j = 0; j < N; j++) {
      x[j][2 * r] = exp2_of(x[j][2 * r] - base); x[j][2 * r + 1] = exp2_of(x[j][2 * r + 1] - base);
      part += x[j][2 * r] + x[j][2 * r + 1];
    }
    sum[r] = sum[r] * keep[r] + part;
  }
}
