// Attention for all types and sizes: the kernels of flash.cu and flash90.cu take what they can. T is the
// element type; arithmetic is in float.
struct G { i64 v[64]; };

// What a logit counts for in a maximum: a NaN leaves its row's sum a NaN, whatever the maximum is.
__forceinline__ float number(float x) { return x == x ? x : 0.f; }

#ifdef ATTENTION
// out = softmax(scale q k^T + mask) v with a running softmax (Dao et al., "FlashAttention", 2022).
// q (b, h, t, D), k (b, g, s, D), v (b, g, s, E), contiguous along the last axis. A warp owns ROWS query
// rows of a head and a span of keys; lanes share a row's D and E elements. Partial results (max, sum,
// E values) go to `parts` where the keys are cut into spans; blocks count themselves in `counters`.
// G: t, s, h, g, span, spans, strides of q (b, h, t), k (b, g, s), v (b, g, s), mask (b, h, t, s),
// flags: 1 causal, 2 bool mask, 4 additive mask, 8 sinks.
#define LANE_D ((D + 31) / 32)
#define LANE_E ((E + 31) / 32)
extern "C" __global__ void __launch_bounds__(128, 1) attention(const T* q, const T* k, const T* v, const void* mask,
    const T* sinks, T* out, float* parts, u32* counters, double scale_, G g) {
  OVERLAPS
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
            float high = fmaxf(top[r], number(x));
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
    float by = total == 0.f ? 0.f : keep / total;
#pragma unroll
    for (int j = 0; j < LANE_E; j++) if (lane + 32 * j < E) out[row * E + lane + 32 * j] = convert<T>(acc[r][j] * by);
  }
  if (g.v[5] == 1) return;
  // The last block of these rows to finish joins their spans, in order.
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(counters + blockIdx.x, 1u) + 1 == gridDim.y;
    if (last) counters[blockIdx.x] = 0;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  for (int r = 0; r < ROWS && first + r < t; r++) {
    const i64 row = bh * t + first + r;
    const float* mine = parts + row * g.v[5] * (E + 2);
    float high = (flags & 8) ? widen(sinks[h]) : -INFINITY_F, total = 0.f, joined[LANE_E];
    for (i64 p = lane; p < g.v[5]; p += 32) high = fmaxf(high, mine[p * (E + 2)]);
    high = warp_join<Max<float>>(high);
    const bool any = high > -INFINITY_F;
    for (i64 p = lane; p < g.v[5] && any; p += 32) total += mine[p * (E + 2) + 1] * __expf(mine[p * (E + 2)] - high);
    total = warp_join<Sum<float>>(total);
    if ((flags & 8) && any) total += __expf(widen(sinks[h]) - high);
#pragma unroll
    for (int j = 0; j < LANE_E; j++) joined[j] = 0.f;
#pragma unroll 4
    for (i64 p = 0; p < (any ? g.v[5] : 0); p++) {
      const float* part = mine + p * (E + 2);
      const float weight = __expf(part[0] - high);
#pragma unroll
      for (int j = 0; j < LANE_E; j++) if (lane + 32 * j < E) joined[j] += part[2 + lane + 32 * j] * weight;
    }
#pragma unroll
    for (int j = 0; j < LANE_E; j++)
      if (lane + 32 * j < E) out[row * E + lane + 32 * j] = convert<T>(total == 0.f ? 0.f : joined[j] / total);
  }
}
#endif

#ifdef ONE_QUERY
// The same for one query of each head and elements of four bytes, D and E multiples of 32: a block of 16
// warps owns a head and a span of keys. A warp takes 16 keys at a time, eight lanes to a key, so that all
// loads of a turn are under way together. Arguments as above. EARLY: keys and values may be read before the
// kernels ahead have ended.
#define WARPS 16
#ifdef TURNED
// The query and a new key are turned by their position first, and the new key and value take their place
// among the others: q holds the query before that, key (b, g, D) and value (b, g, E) the new ones, with
// strides of batch and group. Every block turns what it needs; one stores it. Pairs are halves apart, or
// neighbours if TRADITIONAL is set.
struct Fresh {
  const T* key; const T* value; T* query_out; T* key_out; const i64* position; const float* freqs; u64* fault;
  i64 op; double turn, scale; i64 key_strides[2], value_strides[2];
};
#endif
extern "C" __global__ void __launch_bounds__(32 * WARPS) one_query(const T* q, const T* k, const T* v, const void* mask,
    const T* sinks, T* out, float* parts, u32* counters, double scale_, G g
#ifdef TURNED
    , Fresh fresh
#endif
    ) {
  release();
#ifndef EARLY
  await();
#endif
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, part = lane & 7, slot = lane >> 3, flags = (int)g.v[19];
  const i64 s = g.v[1], heads = g.v[2], bh = blockIdx.x, b = bh / heads, h = bh - b * heads, group = h * g.v[3] / heads;
  const float scale = (float)scale_;
  const T* keys = k + b * g.v[9] + group * g.v[10];
  const T* values = v + b * g.v[12] + group * g.v[13];
  const i64 marks = b * g.v[15] + h * g.v[16];
  const i64 begin = (i64)blockIdx.y * g.v[4], end = begin + g.v[4] < s ? begin + g.v[4] : s;
  Pack<T, 4> key[4][D / 32], value[4][E / 32];
  auto bring = [&](i64 first) {
#pragma unroll
    for (int u = 0; u < 4; u++) {
      const i64 at = first + u * 4 + slot, c = at < end ? at : end - 1;
#pragma unroll
      for (int j = 0; j < D / 32; j++) key[u][j] = *(const Pack<T, 4>*)(keys + c * g.v[11] + j * 32 + part * 4);
#pragma unroll
      for (int j = 0; j < E / 32; j++) value[u][j] = *(const Pack<T, 4>*)(values + c * g.v[14] + j * 32 + part * 4);
    }
  };
  bool seen[4];
  float more[4];
  auto look = [&](i64 first) {
#pragma unroll
    for (int u = 0; u < 4; u++) {
      const i64 at = first + u * 4 + slot, mark = marks + (at < end ? at : end - 1) * g.v[18];
      seen[u] = at < end;
      more[u] = 0.f;
      if (flags & 2) seen[u] = seen[u] && ((const bool*)mask)[mark];
      if (flags & 4) more[u] = widen(((const T*)mask)[mark]);
    }
  };
#ifdef TURNED
  const i64 given = *fresh.position, from_end = given < 0 ? given + s : given, place = from_end < s ? from_end : -1;
  float sine = 0.f, cosine = 1.f;
  if (warp < 2 && lane < D / 2)
    rotation(__dmul_rn((double)given, fresh.scale), lane, fresh.freqs, fresh.turn, sine, cosine);
#endif
  i64 first = begin + warp * 16;
  if (first < end) bring(first);
#ifdef EARLY
  await();
#endif
  if (first < end) look(first);
  Pack<T, 4> query[D / 32];
#ifdef TURNED
  // The turned query, then the new key and value.
  __shared__ __align__(16) T made[2 * D + E];
  const i64 pair = b * g.v[3] + group;
  const bool stores = blockIdx.y == 0, owns = stores && h * g.v[3] % heads == 0;
  if (warp < 2 && lane < D / 2) {
    const T* from = warp == 0 ? q + b * g.v[6] + h * g.v[7]
                              : fresh.key + b * fresh.key_strides[0] + group * fresh.key_strides[1];
#ifdef TRADITIONAL
    const int i = 2 * lane, j = i + 1;
#else
    const int i = lane, j = lane + D / 2;
#endif
    const float x0 = widen(from[i]), x1 = widen(from[j]);
    const T y0 = convert<T>(__fsub_rn(__fmul_rn(x0, cosine), __fmul_rn(x1, sine)));
    const T y1 = convert<T>(__fadd_rn(__fmul_rn(x0, sine), __fmul_rn(x1, cosine)));
    made[warp * D + i] = y0;
    made[warp * D + j] = y1;
    if (warp == 0 && stores) { fresh.query_out[bh * D + i] = y0; fresh.query_out[bh * D + j] = y1; }
    if (warp == 1 && owns) {
      fresh.key_out[pair * D + i] = y0; fresh.key_out[pair * D + j] = y1;
      T* to = (T*)keys + place * g.v[11];
      if (place >= 0) { to[i] = y0; to[j] = y1; }
    }
  }
  if (warp == 2) {
    const T* from = fresh.value + b * fresh.value_strides[0] + group * fresh.value_strides[1];
    T* to = (T*)values + place * g.v[14];
#pragma unroll
    for (int e = lane; e < E; e += 32) {
      const T x = from[e];
      made[2 * D + e] = x;
      if (owns && place >= 0) to[e] = x;
    }
  }
  if (place < 0 && stores && bh == 0 && threadIdx.x == 0) report(fresh.fault, (int)fresh.op, given, 2, s);
  __syncthreads();
#pragma unroll
  for (int c = 0; c < D / 32; c++) query[c] = *(const Pack<T, 4>*)(made + c * 32 + part * 4);
#else
#pragma unroll
  for (int c = 0; c < D / 32; c++) query[c] = *(const Pack<T, 4>*)(q + b * g.v[6] + h * g.v[7] + c * 32 + part * 4);
#endif
  float top = -INFINITY_F, sum = 0.f, acc[E / 8];
#pragma unroll
  for (int j = 0; j < E / 8; j++) acc[j] = 0.f;
  for (; first < end; first += 16 * WARPS) {
    float logit[4];
#pragma unroll
    for (int u = 0; u < 4; u++) {
#ifdef TURNED
      if (first + u * 4 + slot == place) {
#pragma unroll
        for (int j = 0; j < D / 32; j++) key[u][j] = *(const Pack<T, 4>*)(made + D + j * 32 + part * 4);
#pragma unroll
        for (int j = 0; j < E / 32; j++) value[u][j] = *(const Pack<T, 4>*)(made + 2 * D + j * 32 + part * 4);
      }
#endif
      float dot = 0.f;
#pragma unroll
      for (int j = 0; j < D / 32; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) dot = fmaf(widen(query[j].v[e]), widen(key[u][j].v[e]), dot);
#pragma unroll
      for (int m = 1; m < 8; m *= 2) dot += __shfl_xor_sync(0xffffffffu, dot, m);
      logit[u] = seen[u] ? dot * scale + more[u] : -INFINITY_F;
    }
    float high = fmaxf(top, fmaxf(fmaxf(logit[0], logit[1]), fmaxf(logit[2], logit[3])));
    high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, 8));
    high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, 16));
    if (high > -INFINITY_F) {
      const float keep = __expf(top - high);
      top = high; sum *= keep;
#pragma unroll
      for (int j = 0; j < E / 8; j++) acc[j] *= keep;
#pragma unroll
      for (int u = 0; u < 4; u++) {
        const float weight = __expf(logit[u] - high);
        sum += weight;
#pragma unroll
        for (int j = 0; j < E / 8; j++) acc[j] = fmaf(weight, widen(value[u][j / 4].v[j % 4]), acc[j]);
      }
    } else {
      // No key was seen yet, unless its logit is a NaN.
      float any = logit[0] + logit[1] + logit[2] + logit[3];
      any += __shfl_xor_sync(0xffffffffu, any, 8);
      any += __shfl_xor_sync(0xffffffffu, any, 16);
      if (any != any) { top = 0.f; sum = any; }
    }
    if (first + 16 * WARPS < end) { bring(first + 16 * WARPS); look(first + 16 * WARPS); }
  }
  // The four keys of a warp's turn, the warps, and then the spans, in order.
  __shared__ float tops[WARPS], sums[WARPS], sets[WARPS][E];
#pragma unroll
  for (int m = 8; m < 32; m *= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, m);
#pragma unroll
    for (int j = 0; j < E / 8; j++) acc[j] += __shfl_xor_sync(0xffffffffu, acc[j], m);
  }
  if (slot == 0) {
#pragma unroll
    for (int j = 0; j < E / 8; j++) sets[warp][j / 4 * 32 + part * 4 + j % 4] = acc[j];
    if (part == 0) { tops[warp] = top; sums[warp] = sum; }
  }
  __syncthreads();
  float high = tops[0], total = 0.f, joined = 0.f;
#pragma unroll
  for (int w = 1; w < WARPS; w++) high = fmaxf(high, tops[w]);
  const int e = threadIdx.x;
  if (e < E && high > -INFINITY_F) {
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
      const float weight = __expf(tops[w] - high);
      total += sums[w] * weight; joined += sets[w][e] * weight;
    }
  }
  if (g.v[5] > 1) {
    float* mine = parts + bh * g.v[5] * (E + 2);
    if (e < E) mine[blockIdx.y * (E + 2) + 2 + e] = joined;
    if (e == 0) { mine[blockIdx.y * (E + 2)] = high; mine[blockIdx.y * (E + 2) + 1] = total; }
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (e == 0) {
      last = atomicAdd(counters + bh, 1u) + 1 == gridDim.y;
      if (last) counters[bh] = 0;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    high = -INFINITY_F;
    for (i64 p = 0; p < g.v[5]; p++) high = fmaxf(high, mine[p * (E + 2)]);
    total = joined = 0.f;
    for (i64 p = 0; p < g.v[5] && e < E && high > -INFINITY_F; p++) {
      const float weight = __expf(mine[p * (E + 2)] - high);
      total += mine[p * (E + 2) + 1] * weight; joined += mine[p * (E + 2) + 2 + e] * weight;
    }
  }
  if (e >= E) return;
  float keep = 1.f;
  if (flags & 8) {
    const float sink = widen(sinks[h]), over = fmaxf(high, sink);
    keep = __expf(high - over); total = total * keep + __expf(sink - over);
  }
  out[bh * E + e] = convert<T>(total == 0.f ? 0.f : joined * keep / total);
}
#endif

#ifdef WEIGHTS
// out (rows, s) = softmax(scale * scores + mask) of float scores (h, t, s), of which out may have the memory: one
// block for each row. G: queries t and keys s of this slice, h, its first query, all keys less all queries, batch
// element, strides of mask (b, h, t, s), flags as above.
extern "C" __global__ void __launch_bounds__(256) weights(const float* scores, const void* mask,
    const T* sinks, T* out, double scale_, G g) {
  i64 row = blockIdx.x, t = g.v[0], s = g.v[1], i = g.v[3] + row % t, h = row / t, b = g.v[5];
  int flags = (int)g.v[10];
  float scale = (float)scale_, top = -INFINITY_F, sum = 0.f;
  i64 end = flags & 1 && g.v[4] + i + 1 < s ? g.v[4] + i + 1 : s;
  i64 at = b * g.v[6] + h * g.v[7] + i * g.v[8];
  const float* mine = scores + row * s;
  for (i64 c = threadIdx.x; c < end; c += 256) {
    float x = mine[c] * scale;
    if (flags & 2) x = ((const bool*)mask)[at + c * g.v[9]] ? x : -INFINITY_F;
    if (flags & 4) x += widen(((const T*)mask)[at + c * g.v[9]]);
    float high = fmaxf(top, number(x));
    if (high > -INFINITY_F) { sum = sum * __expf(top - high) + __expf(x - high); top = high; }
  }
  float high = block_join<Max<float>>(top);
  if (flags & 8) high = fmaxf(high, widen(sinks[h]));
  sum = block_join<Sum<float>>(top > -INFINITY_F ? sum * __expf(top - high) : 0.f);
  if (flags & 8) sum += __expf(widen(sinks[h]) - high);
  float by = sum == 0.f ? 0.f : 1.f / sum;
  for (i64 c = threadIdx.x; c < s; c += 256) {
    float x = c < end ? mine[c] * scale : -INFINITY_F;
    if (c < end && (flags & 2)) x = ((const bool*)mask)[at + c * g.v[9]] ? x : -INFINITY_F;
    if (c < end && (flags & 4)) x += widen(((const T*)mask)[at + c * g.v[9]]);
    out[row * s + c] = convert<T>(x == -INFINITY_F ? 0.f : __expf(x - high) * by);
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
