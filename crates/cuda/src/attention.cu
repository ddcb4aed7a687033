// Attention for all types and sizes: the kernels of flash.cu and flash90.cu take what they can. T is the
// element type; arithmetic is in float.
struct G { i64 v[64]; };

#ifdef ATTENTION
// out = softmax(scale q k^T + mask) v with a running softmax (Dao et al., "FlashAttention", 2022).
// q (b, h, t, D), k (b, g, s, D), v (b, g, s, E), contiguous along the last axis. A warp owns ROWS query
// rows of a head and a span of keys; lanes share a row's D and E elements. Partial results (max, sum,
// E values) go to `parts` where the keys are cut into spans, and `join_spans` joins them in order.
// G: t, s, h, g, span, spans, strides of q (b, h, t), k (b, g, s), v (b, g, s), mask (b, h, t, s),
// flags: 1 causal, 2 bool mask, 4 additive mask, 8 sinks.
#define LANE_D ((D + 31) / 32)
#define LANE_E ((E + 31) / 32)
extern "C" __global__ void __launch_bounds__(128) attention(const T* q, const T* k, const T* v, const void* mask,
    const T* sinks, T* out, float* parts, double scale_, G g) {
  i64 t = g.v[0], s = g.v[1], heads = g.v[2], groups = g.v[3];
  int lane = threadIdx.x & 31, flags = (int)g.v[19];
  i64 block = (t + ROWS - 1) / ROWS, unit = (i64)blockIdx.x * 4 + (threadIdx.x >> 5);
  i64 bh = unit / block, first = (unit - bh * block) * ROWS, b = bh / heads, h = bh - b * heads;
  if (b >= g.v[20]) return;
  i64 group = h * groups / heads, span = blockIdx.y;
  float scale = (float)scale_;
  float query[ROWS][LANE_D], acc[ROWS][LANE_E], top[ROWS], sum[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    top[r] = -INFINITY_F; sum[r] = 0.f;
#pragma unroll
    for (int j = 0; j < LANE_D; j++) {
      int c = lane + 32 * j;
      query[r][j] = first + r < t && c < D ? widen(q[b * g.v[6] + h * g.v[7] + (first + r) * g.v[8] + c]) * scale : 0.f;
    }
#pragma unroll
    for (int j = 0; j < LANE_E; j++) acc[r][j] = 0.f;
  }
  i64 begin = span * g.v[4], end = begin + g.v[4] < s ? begin + g.v[4] : s;
  if (flags & 1) { i64 far = s - t + first + ROWS; if (end > far) end = far; }
  const T* keys = k + b * g.v[9] + group * g.v[10];
  const T* values = v + b * g.v[12] + group * g.v[13];
  for (i64 c0 = begin; c0 < end; c0 += 4) {
    // Four keys at once: their loads and sums over lanes overlap.
    float logit[4][ROWS];
#pragma unroll
    for (int u = 0; u < 4; u++) {
      i64 c = c0 + u < end ? c0 + u : end - 1;
      float key[LANE_D];
#pragma unroll
      for (int j = 0; j < LANE_D; j++) key[j] = lane + 32 * j < D ? widen(keys[c * g.v[11] + lane + 32 * j]) : 0.f;
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        float dot = 0.f;
#pragma unroll
        for (int j = 0; j < LANE_D; j++) dot += query[r][j] * key[j];
        logit[u][r] = dot;
      }
    }
#pragma unroll
    for (int u = 0; u < 4; u++)
#pragma unroll
      for (int r = 0; r < ROWS; r++) logit[u][r] = warp_join<Sum<float>>(logit[u][r]);
#pragma unroll
    for (int u = 0; u < 4; u++) {
      i64 c = c0 + u;
      if (c < end) {
        float value[LANE_E];
#pragma unroll
        for (int j = 0; j < LANE_E; j++) value[j] = lane + 32 * j < E ? widen(values[c * g.v[14] + lane + 32 * j]) : 0.f;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
          if (first + r < t) {
            float x = logit[u][r];
            i64 at = b * g.v[15] + h * g.v[16] + (first + r) * g.v[17] + c * g.v[18];
            if ((flags & 1) && c > s - t + first + r) x = -INFINITY_F;
            if (flags & 2) x = ((const bool*)mask)[at] ? x : -INFINITY_F;
            if (flags & 4) x += widen(((const T*)mask)[at]);
            float high = fmaxf(top[r], x);
            if (high > -INFINITY_F) {
              float keep = __expf(top[r] - high), weight = __expf(x - high);
              top[r] = high; sum[r] = sum[r] * keep + weight;
#pragma unroll
              for (int j = 0; j < LANE_E; j++) acc[r][j] = acc[r][j] * keep + weight * value[j];
            }
          }
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    if (first + r >= t) continue;
    i64 row = bh * t + first + r;
    if (g.v[5] > 1) {
      float* part = parts + (row * g.v[5] + span) * (E + 2);
#pragma unroll
      for (int j = 0; j < LANE_E; j++) if (lane + 32 * j < E) part[2 + lane + 32 * j] = acc[r][j];
      if (lane == 0) { part[0] = top[r]; part[1] = sum[r]; }
      continue;
    }
    float high = top[r], total = sum[r], keep = 1.f;
    if (flags & 8) {
      float sink = widen(sinks[h]); high = fmaxf(top[r], sink);
      keep = __expf(top[r] - high); total = total * keep + __expf(sink - high);
    }
    float by = total > 0.f ? keep / total : 0.f;
#pragma unroll
    for (int j = 0; j < LANE_E; j++) if (lane + 32 * j < E) out[row * E + lane + 32 * j] = convert<T>(acc[r][j] * by);
  }
}
// One block of 32 lanes for each row.
extern "C" __global__ void __launch_bounds__(32) join_spans(const float* parts, const T* sinks, T* out, G g) {
  i64 row = blockIdx.x, h = row / g.v[0] % g.v[2];
  int lane = threadIdx.x;
  const float* mine = parts + row * g.v[5] * (E + 2);
  float high = (g.v[19] & 8) ? widen(sinks[h]) : -INFINITY_F, total = 0.f, acc[LANE_E];
  for (i64 p = 0; p < g.v[5]; p++) high = fmaxf(high, mine[p * (E + 2)]);
  if ((g.v[19] & 8) && high > -INFINITY_F) total = __expf(widen(sinks[h]) - high);
#pragma unroll
  for (int j = 0; j < LANE_E; j++) acc[j] = 0.f;
  for (i64 p = 0; p < g.v[5] && high > -INFINITY_F; p++) {
    const float* part = mine + p * (E + 2);
    float weight = __expf(part[0] - high);
    total += part[1] * weight;
#pragma unroll
    for (int j = 0; j < LANE_E; j++) if (lane + 32 * j < E) acc[j] += part[2 + lane + 32 * j] * weight;
  }
#pragma unroll
  for (int j = 0; j < LANE_E; j++) if (lane + 32 * j < E) out[row * E + lane + 32 * j] = convert<T>(total > 0.f ? acc[j] / total : 0.f);
}
#endif

#ifdef WEIGHTS
// out (rows, s) = softmax(scale * scores + mask) of float scores (b, h, t, s): one block for each row. G:
// t, s, h, unused, unused, batch element, strides of mask (b, h, t, s), flags as above.
extern "C" __global__ void __launch_bounds__(256) weights(const float* scores, const void* mask,
    const T* sinks, T* out, double scale_, G g) {
  i64 row = blockIdx.x, t = g.v[0], s = g.v[1], i = row % t, h = row / t % g.v[2], b = g.v[5];
  int flags = (int)g.v[10];
  float scale = (float)scale_, top = -INFINITY_F, sum = 0.f;
  i64 end = flags & 1 ? (s - t + i + 1 < s ? s - t + i + 1 : s) : s;
  i64 at = b * g.v[6] + h * g.v[7] + i * g.v[8];
  const float* mine = scores + row * s;
  for (i64 c = threadIdx.x; c < end; c += 256) {
    float x = mine[c] * scale;
    if (flags & 2) x = ((const bool*)mask)[at + c * g.v[9]] ? x : -INFINITY_F;
    if (flags & 4) x += widen(((const T*)mask)[at + c * g.v[9]]);
    float high = fmaxf(top, x);
    if (high > -INFINITY_F) { sum = sum * __expf(top - high) + __expf(x - high); top = high; }
  }
  float high = block_join<Max<float>>(top);
  if (flags & 8) high = fmaxf(high, widen(sinks[h]));
  sum = block_join<Sum<float>>(top > -INFINITY_F ? sum * __expf(top - high) : 0.f);
  if (flags & 8) sum += __expf(widen(sinks[h]) - high);
  float by = sum > 0.f ? 1.f / sum : 0.f;
  for (i64 c = threadIdx.x; c < s; c += 256) {
    float x = c < end ? mine[c] * scale : -INFINITY_F;
    if (c < end && (flags & 2)) x = ((const bool*)mask)[at + c * g.v[9]] ? x : -INFINITY_F;
    if (c < end && (flags & 4)) x += widen(((const T*)mask)[at + c * g.v[9]]);
    out[row * s + c] = convert<T>(x > -INFINITY_F ? __expf(x - high) * by : 0.f);
  }
}
#endif

#ifdef GRADIENT
// slopes = scale * weights * (products - rowsum(ct * out)): weights, products and slopes (rows, s), ct and
// out (rows, e). A block for each row.
extern "C" __global__ void __launch_bounds__(256) gradient(const T* weights, const float* products, const T* ct, const T* out,
    T* slopes, double scale, i64 s, i64 e) {
  const i64 row = blockIdx.x;
  float sum = 0.f;
  for (i64 c = threadIdx.x; c < e; c += 256) sum += widen(ct[row * e + c]) * widen(out[row * e + c]);
  sum = block_join<Sum<float>>(sum);
  for (i64 c = threadIdx.x; c < s; c += 256)
    slopes[row * s + c] = convert<T>((float)scale * widen(weights[row * s + c]) * (products[row * s + c] - sum));
}
#endif
