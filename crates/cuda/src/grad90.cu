// Gradients of attention by warpgroup products of compute capability 9.0: for out = P v with
// P = softmax(scale q k^T + mask) and the cotangent c of out (Dao, "FlashAttention-2", 2023, section 3.1),
//   dv = P^T c,  dS = P * (c v^T - delta) with delta = rowsum(c * out),  dq = scale dS k,  dk = scale dS^T q.
// P is computed again from the logarithms of the softmax's sums. `grad_q` owns 128 queries of a head: without KNOWN a
// pass over the keys for those logarithms, which it leaves with delta for the other kernel, then a
// pass for dq. `grad_kv` owns 128 keys of a group and passes over the queries of all its heads, so that every
// sum has one order. One warpgroup asks for tiles of 64 rows, two own 64 rows of the result each.
// The products of a tile's logits run while those with the weights of the one before do.
// Tensor maps as in flash90.cu, of c as of q; boxes have 64 rows. logs and deltas: (b * h, g.v[27]), logarithms to
// base 2; lengths are rounded up to 64 and rows behind the last one weigh nothing. Elements T of 16
// bits, D and E at most 128. G as in logits.cuh, then strides (b, h, t) of c and of out, and that length.
struct G { i64 v[64]; };
#define DC ((D + 63) / 64)
#define EC ((E + 63) / 64)
#define PART 8192
#define LOG2E 1.4426950408889634f

// x (64, 64) = a b^T over C parts of 64 columns, along which both are contiguous.
template <int C> __forceinline__ void product_left(float* x, u64 a, u64 b) {
#pragma unroll
  for (int d = 0; d < C * 4; d++)
    product_shared<64, 0, 0>(x, a + d / 4 * (PART / 16) + d % 4 * 2, b + d / 4 * (PART / 16) + d % 4 * 2, d);
}
// acc (64, C * 64) += p b: p (64, 64) in registers, b contiguous along its columns.
template <int C> __forceinline__ void product_right(float* acc, const u32* p, u64 b) {
#pragma unroll
  for (int n = 0; n < 4; n++) {
    const u32* a = p + 4 * n;
    if constexpr (C == 2)
      asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." KIND "." KIND " " LIST64 ", {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
                   : F16(acc, 0), F16(acc, 16), F16(acc, 32), F16(acc, 48)
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b + n * (2048 / 16)));
    else
      asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." KIND "." KIND " " LIST32 ", {%32,%33,%34,%35}, %36, 1, 1, 1, 1;"
                   : F16(acc, 0), F16(acc, 16) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b + n * (2048 / 16)));
  }
}
template <int C> __forceinline__ void bring_tile(u32 to, const Map* map, u32 barrier, int row, int h, int b) {
#pragma unroll
  for (int c = 0; c < C; c++) bring(to + c * PART, map, barrier, c * 64, row, h, b);
}
__forceinline__ void round_pairs(const float* x, u32* p) {
#pragma unroll
  for (int j = 0; j < 16; j++) p[j] = Unit<T>::pair(x[2 * j], x[2 * j + 1]);
}
// The logit, in units of log2, of query i and key c, from their product; -inf where it is hidden.
__forceinline__ float logit(float x, float scale, int i, int c, i64 at, const void* mask, const G& g) {
  const int t = (int)g.v[0], s = (int)g.v[1];
  x *= scale;
  if (c >= s || ((FLAGS & 1) && c > s - t + i)) return -INFINITY_F;
  if (i >= t) return x;
  if (FLAGS & 2) return ((const bool*)mask)[at + i * g.v[17] + c * g.v[18]] ? x : -INFINITY_F;
  if (FLAGS & 4) x += widen(((const T*)mask)[at + i * g.v[17] + c * g.v[18]]) * LOG2E;
  return x;
}
// Sends `by` times a warpgroup's 64 rows of C parts of columns, through the shared memory `at` that only it used.
template <int C> __forceinline__ void leave(const float* acc, float by, u32 at, const Map* map, int row, int h, int b) {
  const int thread = threadIdx.x % 128, lane = threadIdx.x & 31;
  const u32 line = at + (thread / 32 * 16 + (lane & 15)) * 128;
#pragma unroll
  for (int j = 0; j < C * 8; j += 2) {
    u32 pairs[4];
#pragma unroll
    for (int e = 0; e < 4; e++) pairs[e] = Unit<T>::pair(acc[j * 4 + 2 * e] * by, acc[j * 4 + 2 * e + 1] * by);
    store_4(line + j / 8 * PART + ((j % 8 + (lane >> 4)) ^ (lane & 7)) * 16, pairs[0], pairs[1], pairs[2], pairs[3]);
  }
  show_writes();
  asm volatile("bar.sync %0, 128;" :: "r"((int)threadIdx.x / 128) : "memory");
  if (thread == 0) {
    for (int c = 0; c < C; c++) send(map, at + c * PART, c * 64, row, h, b);
    departed();
  }
}

#define K_STAGES 3
#define V_STAGES 2
extern "C" __global__ void __launch_bounds__(384, 1) grad_q(const __grid_constant__ Map qmap, const __grid_constant__ Map kmap,
    const __grid_constant__ Map vmap, const __grid_constant__ Map cmap, const __grid_constant__ Map dqmap, const void* mask,
    const T* sinks, const T* ct, const T* out, float* logs, float* deltas, double scale_, G g) {
  extern __shared__ __align__(1024) u8 memory[];
  __shared__ __align__(8) u64 barriers[1 + 2 * K_STAGES + 2 * V_STAGES];
  const u32 qs = shared_address(memory), cs = qs + 2 * DC * PART, ks = cs + 2 * EC * PART, vs = ks + K_STAGES * DC * PART;
  const u32 q_full = shared_address(barriers), k_full = q_full + 8, k_empty = k_full + 8 * K_STAGES, v_full = k_empty + 8 * K_STAGES,
            v_empty = v_full + 8 * V_STAGES;
  const int t = (int)g.v[0], s = (int)g.v[1], heads = (int)g.v[2], part = threadIdx.x / 128, h = blockIdx.y, b = blockIdx.z;
  const int group = (int)((i64)h * g.v[3] / heads);
  // The longest rows of a causal product come first.
  const int first = (int)(FLAGS & 1 ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * 128;
  const int end = FLAGS & 1 ? min(s, s - t + first + 128) : s, tiles = end > 0 ? (end + 63) / 64 : 0;
#ifdef KNOWN
  const int before = 0;
#else
  const int before = tiles;
#endif
  if (threadIdx.x == 0) {
    barrier_start(q_full, 1);
    for (int i = 0; i < K_STAGES; i++) { barrier_start(k_full + 8 * i, 1); barrier_start(k_empty + 8 * i, 8); }
    for (int i = 0; i < V_STAGES; i++) { barrier_start(v_full + 8 * i, 1); barrier_start(v_empty + 8 * i, 8); }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (part == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x != 0 || tiles == 0) return;
    barrier_expect(q_full, 2 * (DC + EC) * PART);
    for (int w = 0; w < 2; w++) {
      bring_tile<DC>(qs + w * DC * PART, &qmap, q_full, first + w * 64, h, b);
      bring_tile<EC>(cs + w * EC * PART, &cmap, q_full, first + w * 64, h, b);
    }
    for (int n = 0; n < before + tiles; n++) {
      const int k = n % K_STAGES, i = n < before ? n : n - before;
      barrier_wait(k_empty + 8 * k, (n / K_STAGES & 1) ^ 1);
      barrier_expect(k_full + 8 * k, DC * PART);
      bring_tile<DC>(ks + k * DC * PART, &kmap, k_full + 8 * k, i * 64, group, b);
      if (n < before) continue;
      const int v = i % V_STAGES;
      barrier_wait(v_empty + 8 * v, (i / V_STAGES & 1) ^ 1);
      barrier_expect(v_full + 8 * v, EC * PART);
      bring_tile<EC>(vs + v * EC * PART, &vmap, v_full + 8 * v, i * 64, group, b);
    }
    return;
  }
  asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
  const int w = __shfl_sync(0xffffffffu, part, 0) - 1, thread = threadIdx.x % 128, lane = threadIdx.x & 31;
  const int row = first + w * 64 + thread / 32 * 16 + lane / 4;
  const float scale = (float)scale_ * LOG2E;
  const u64 qd = describe(qs + w * DC * PART, 16), cd = describe(cs + w * EC * PART, 16);
  const i64 at = FLAGS & 6 ? b * g.v[15] + h * g.v[16] : 0;
  // Keys from here on are hidden from some query of the warpgroup.
  const int clear = FLAGS & 1 ? min(s - t + first + w * 64 + 1, s) : s;
  float x[32], y[32], acc[DC * 32], top[2] = {-INFINITY_F, -INFINITY_F}, sum[2] = {0.f, 0.f}, delta[2];
  // Hides what a query does not see; logits are `by` times the numbers then.
#define LOGITS(i) \
    const bool shaded = (i) * 64 + 64 > clear || (FLAGS & 6); \
    if (shaded) \
      _Pragma("unroll") for (int j = 0; j < 32; j++) \
        x[j] = logit(x[j], scale, row + j / 2 % 2 * 8, (i) * 64 + j / 4 * 8 + lane % 4 * 2 + j % 2, at, mask, g); \
    const float by = shaded ? 1.f : scale;
  if (tiles > 0) barrier_wait(q_full, 0);
  for (int n = 0; n < before; n++) {
    const int k = n % K_STAGES;
    barrier_wait(k_full + 8 * k, n / K_STAGES & 1);
    product_fence();
    product_left<DC>(x, qd, describe(ks + k * DC * PART, 16));
    product_commit();
    product_wait<0>();
    if (lane == 0) barrier_arrive(k_empty + 8 * k);
    LOGITS(n)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float high = top[r], part_sum = 0.f;
#pragma unroll
      for (int j = 0; j < 8; j++) high = fmaxf(high, fmaxf(x[j * 4 + 2 * r] * by, x[j * 4 + 2 * r + 1] * by));
      high = quad_max(high);
      const float base = high == -INFINITY_F ? 0.f : high;
#pragma unroll
      for (int j = 0; j < 8; j++) part_sum += exp2_of(fmaf(x[j * 4 + 2 * r], by, -base)) + exp2_of(fmaf(x[j * 4 + 2 * r + 1], by, -base));
      sum[r] = sum[r] * exp2_of(top[r] - base) + part_sum;
      top[r] = high;
    }
  }
#define READY(i) { \
    const int k = (before + (i)) % K_STAGES, v = (i) % V_STAGES; \
    barrier_wait(k_full + 8 * k, (before + (i)) / K_STAGES & 1); \
    barrier_wait(v_full + 8 * v, (i) / V_STAGES & 1); }
#define BOTH(i) { \
    product_fence(); \
    product_left<DC>(x, qd, describe(ks + (before + (i)) % K_STAGES * DC * PART, 16)); \
    product_left<EC>(y, cd, describe(vs + (i) % V_STAGES * EC * PART, 16)); \
    product_commit(); }
  // Tiles from `upto` on are hidden from all of the warpgroup's queries. The first products run while deltas are summed.
  const int last = FLAGS & 1 ? min(s, s - t + first + w * 64 + 64) : s, upto = last > 0 ? (last + 63) / 64 : 0;
  if (upto > 0) READY(0)
  BOTH(0)
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int i = row + 8 * r;
    float total = quad_sum(sum[r]), dot = 0.f, base = top[r] == -INFINITY_F ? 0.f : top[r];
    if (FLAGS & 8) {
      const float sink = widen(sinks[h]) * LOG2E, high = fmaxf(top[r], sink);
      total = total * exp2_of(base - high) + exp2_of(sink - high);
      base = high;
    }
    if (i < t) {
      const T* c = ct + b * g.v[21] + h * g.v[22] + i * g.v[23];
      const T* o = out + b * g.v[24] + h * g.v[25] + i * g.v[26];
      for (int e = lane % 4 * 8; e < E; e += 32) {
        const Pack<T, 8> p = *(const Pack<T, 8>*)(c + e), q = *(const Pack<T, 8>*)(o + e);
#pragma unroll
        for (int j = 0; j < 8; j++) dot += widen(p.v[j]) * widen(q.v[j]);
      }
    }
    delta[r] = quad_sum(dot);
    const i64 place = ((i64)b * heads + h) * g.v[27] + i;
#ifdef KNOWN
    top[r] = i < g.v[27] ? logs[place] : INFINITY_F;
#else
    // A row without keys weighs nothing: 2^(x - inf) is 0.
    top[r] = total == 0.f || i >= t ? INFINITY_F : base + log2f(total);
    if (lane % 4 == 0 && i < g.v[27]) logs[place] = top[r];
#endif
    if (lane % 4 == 0 && i < g.v[27]) deltas[place] = delta[r];
  }
#pragma unroll
  for (int j = 0; j < DC * 32; j++) acc[j] = 0.f;
  u32 p[16];
#define SLOPES(i) { \
    if (lane == 0) barrier_arrive(v_empty + 8 * ((i) % V_STAGES)); \
    LOGITS(i) \
    _Pragma("unroll") for (int j = 0; j < 32; j++) x[j] = exp2_of(fmaf(x[j], by, -top[j / 2 % 2])) * (y[j] - delta[j / 2 % 2]); }
#define SUM(i) { \
    product_right<DC>(acc, p, describe(ks + (before + (i)) % K_STAGES * DC * PART, PART)); \
    product_commit(); }
  product_wait<0>();
  if (upto > 0) {
    SLOPES(0)
    round_pairs(x, p);
    for (int i = 1; i < upto; i++) {
      READY(i)
      BOTH(i)
      SUM(i - 1)
      product_wait<1>();
      SLOPES(i)
      product_wait<0>();
      if (lane == 0) barrier_arrive(k_empty + 8 * ((before + i - 1) % K_STAGES));
      round_pairs(x, p);
    }
    product_fence();
    SUM(upto - 1)
    product_wait<0>();
  }
  leave<DC>(acc, (float)scale_, qs + w * DC * PART, &dqmap, first + w * 64, h, b);
}

#define STAGES 3
#define STAGE ((DC + EC) * PART + 1024)
extern "C" __global__ void __launch_bounds__(384, 1) grad_kv(const __grid_constant__ Map qmap, const __grid_constant__ Map kmap,
    const __grid_constant__ Map vmap, const __grid_constant__ Map cmap, const __grid_constant__ Map dkmap, const __grid_constant__ Map dvmap,
    const void* mask, const float* logs, const float* deltas, double scale_, G g) {
  extern __shared__ __align__(1024) u8 memory[];
  __shared__ __align__(8) u64 barriers[1 + 2 * STAGES];
  // A stage: queries, cotangents, logarithms and deltas (64 each; the rest keeps the alignment).
  const u32 ks = shared_address(memory), vs = ks + 2 * DC * PART, stages = vs + 2 * EC * PART;
  const u32 kv_full = shared_address(barriers), full = kv_full + 8, empty = full + 8 * STAGES;
  const int t = (int)g.v[0], s = (int)g.v[1], heads = (int)g.v[2], groups = (int)g.v[3], per = heads / groups;
  const int part = threadIdx.x / 128, group = blockIdx.y, b = blockIdx.z, first = blockIdx.x * 128;
  // Queries before this tile see none of the keys.
  const int from = FLAGS & 1 ? max(0, first - (s - t)) / 64 : 0, upto = (t + 63) / 64, count = max(0, upto - from);
  if (threadIdx.x == 0) {
    barrier_start(kv_full, 1);
    for (int i = 0; i < STAGES; i++) { barrier_start(full + 8 * i, 1); barrier_start(empty + 8 * i, 256); }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (part == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x != 0) return;
    barrier_expect(kv_full, 2 * (DC + EC) * PART);
    for (int w = 0; w < 2; w++) {
      bring_tile<DC>(ks + w * DC * PART, &kmap, kv_full, first + w * 64, group, b);
      bring_tile<EC>(vs + w * EC * PART, &vmap, kv_full, first + w * 64, group, b);
    }
    for (int n = 0, h = group * per; h < (group + 1) * per; h++)
      for (int i = from; i < upto; i++, n++) {
        const u32 stage = n % STAGES, to = stages + stage * STAGE, barrier = full + 8 * stage;
        barrier_wait(empty + 8 * stage, (n / STAGES & 1) ^ 1);
        barrier_expect(barrier, (DC + EC) * PART + 512);
        bring_tile<DC>(to, &qmap, barrier, i * 64, h, b);
        bring_tile<EC>(to + DC * PART, &cmap, barrier, i * 64, h, b);
        const i64 row = ((i64)b * heads + h) * g.v[27] + i * 64;
        for (int e = 0; e < 2; e++)
          asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], 256, [%2];"
                       :: "r"(to + (DC + EC) * PART + e * 256), "l"((e ? deltas : logs) + row), "r"(barrier) : "memory");
      }
    return;
  }
  asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
  const int w = __shfl_sync(0xffffffffu, part, 0) - 1, thread = threadIdx.x % 128, lane = threadIdx.x & 31;
  const int row = first + w * 64 + thread / 32 * 16 + lane / 4;
  const float scale = (float)scale_ * LOG2E;
  const u64 kd = describe(ks + w * DC * PART, 16), vd = describe(vs + w * EC * PART, 16);
  float x[32], y[32], k_sum[DC * 32], v_sum[EC * 32];
#pragma unroll
  for (int j = 0; j < DC * 32; j++) k_sum[j] = 0.f;
#pragma unroll
  for (int j = 0; j < EC * 32; j++) v_sum[j] = 0.f;
  barrier_wait(kv_full, 0);
  u32 p[16], d[16];
  const int turns = count * per;
  // One head's first tile is hidden from all keys of the second warpgroup, where the diagonal runs through it.
  const int begin = (FLAGS & 1) && per == 1 && turns > 0 && first + w * 64 > s - t + from * 64 + 63 ? 1 : 0;
  if (begin > 0) {
    barrier_wait(full, 0);
    barrier_arrive(empty);
  }
  int h = group * per, i0 = (from + begin) * 64;
  // The weights, in place of their logits.
  auto weigh = [&](int n) {
    const u32 to = stages + n % STAGES * STAGE + (DC + EC) * PART;
    const float* from_logs = (const float*)(memory + (to - ks));
    const bool shaded = (FLAGS & 6) || first + 128 > s || ((FLAGS & 1) && first + w * 64 + 63 > s - t + i0);
    if (shaded) {
      const i64 at = FLAGS & 6 ? b * g.v[15] + h * g.v[16] : 0;
#pragma unroll
      for (int j = 0; j < 32; j++)
        x[j] = logit(x[j], scale, i0 + j / 4 * 8 + lane % 4 * 2 + j % 2, row + j / 2 % 2 * 8, at, mask, g);
    }
    const float by = shaded ? 1.f : scale;
#pragma unroll
    for (int j = 0; j < 32; j += 4) {
      const float2 l = *(const float2*)(from_logs + j * 2 + lane % 4 * 2);
#pragma unroll
      for (int e = 0; e < 4; e++) x[j + e] = exp2_of(fmaf(x[j + e], by, e % 2 ? -l.y : -l.x));
    }
    i0 += 64;
    if (i0 >= t) { i0 = from * 64; h++; }
  };
  // Their slopes.
  auto slope = [&](int n) {
    const u32 to = stages + n % STAGES * STAGE + (DC + EC) * PART;
    const float* from_deltas = (const float*)(memory + (to - ks)) + 64;
#pragma unroll
    for (int j = 0; j < 32; j += 4) {
      const float2 e = *(const float2*)(from_deltas + j * 2 + lane % 4 * 2);
      d[j / 2] = Unit<T>::pair(x[j] * (y[j] - e.x), x[j + 1] * (y[j + 1] - e.y));
      d[j / 2 + 1] = Unit<T>::pair(x[j + 2] * (y[j + 2] - e.x), x[j + 3] * (y[j + 3] - e.y));
    }
  };
#define LOGITS_OF(n) { \
    barrier_wait(full + 8 * ((n) % STAGES), (n) / STAGES & 1); \
    product_fence(); \
    product_left<DC>(x, kd, describe(stages + (n) % STAGES * STAGE, 16)); \
    product_commit(); }
#define SLOPES_OF(n) { \
    product_fence(); \
    product_left<EC>(y, vd, describe(stages + (n) % STAGES * STAGE + DC * PART, 16)); \
    product_commit(); \
    round_pairs(x, p); \
    product_wait<0>(); \
    slope(n); }
#define SUMS_OF(n) { \
    const u32 qs = stages + (n) % STAGES * STAGE; \
    product_right<EC>(v_sum, p, describe(qs + DC * PART, PART)); \
    product_right<DC>(k_sum, d, describe(qs, PART)); \
    product_commit(); }
  if (turns > begin) {
    LOGITS_OF(begin)
    product_wait<0>();
    weigh(begin);
    SLOPES_OF(begin)
    for (int n = begin + 1; n < turns; n++) {
      LOGITS_OF(n)
      SUMS_OF(n - 1)
      product_wait<1>();
      weigh(n);
      product_wait<0>();
      // Every thread by itself: each has read deltas of the stage.
      barrier_arrive(empty + 8 * ((n - 1) % STAGES));
      SLOPES_OF(n)
    }
    product_fence();
    SUMS_OF(turns - 1)
    product_wait<0>();
  }
  leave<DC>(k_sum, (float)scale_, ks + w * DC * PART, &dkmap, first + w * 64, group, b);
  leave<EC>(v_sum, 1.f, vs + w * EC * PART, &dvmap, first + w * 64, group, b);
}
