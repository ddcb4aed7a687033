// out = softmax(scale q k^T + mask) v on the matrix units, with a running softmax (Dao, "FlashAttention-2",
// 2023). q (b, h, t, D), k (b, g, s, D), v (b, g, s, E), elements T of 16 bits, contiguous along the last
// axis and aligned to 16 bytes; D and E multiples of 8. G and FLAGS are those of logits.cuh.
#define DP ((D + 15) / 16 * 16)
#define EP ((E + 15) / 16 * 16)
// Rows in shared memory are 16 bytes longer than elements need, so that eight of them meet all banks.
#define DROW (DP + 8)
#define EROW (EP + 8)

// The results (max, sum, EP values) that four warps left of one row, 16 rows apart: their join goes to `part`, or is that
// row's result where there is none. A warp's lanes share the columns.
__forceinline__ void join_warps(const float* all, float sink, float* part, T* out, int lane) {
  const int apart = 16 * (EP + 2);
  float high = -INFINITY_F, total = 0.f, by[4], over = 1.f;
#pragma unroll
  for (int w = 0; w < 4; w++) high = fmaxf(high, all[w * apart]);
  const float base = high == -INFINITY_F ? 0.f : high;
#pragma unroll
  for (int w = 0; w < 4; w++) { by[w] = exp2_of(all[w * apart] - base); total += by[w] * all[w * apart + 1]; }
  if (!part) {
    const float peak = fmaxf(high, sink);
    over = high == -INFINITY_F ? 0.f : exp2_of(high - peak);
    total = total * over + (sink == -INFINITY_F ? 0.f : exp2_of(sink - peak));
    over = total == 0.f ? 0.f : over / total;
  } else if (lane == 0) { part[0] = high; part[1] = total; }
  for (int c = lane; c < E; c += 32) {
    float x = 0.f;
#pragma unroll
    for (int w = 0; w < 4; w++) x += by[w] * all[w * apart + 2 + c];
    if (part) part[2 + c] = x; else out[c] = convert<T>(x * over);
  }
}

// The result of a row from those of its spans (max, sum, E values), in order; likewise for a warp.
__forceinline__ void join_spans(const float* parts, int spans, float sink, T* out, int lane) {
  float high = sink;
  for (int p = lane; p < spans; p += 32) high = fmaxf(high, __ldcg(parts + p * (E + 2)));
  high = warp_join<Max<float>>(high);
  const float base = high == -INFINITY_F ? 0.f : high;
  float total = exp2_of(sink - base), joined[(E + 31) / 32];
#pragma unroll
  for (int j = 0; j < (E + 31) / 32; j++) joined[j] = 0.f;
#pragma unroll 4
  for (int p = 0; p < spans; p++) {
    const float* part = parts + p * (E + 2);
    const float weight = exp2_of(__ldcg(part) - base);
    total += __ldcg(part + 1) * weight;
#pragma unroll
    for (int j = 0; j < (E + 31) / 32; j++)
      if (lane + 32 * j < E) joined[j] += __ldcg(part + 2 + lane + 32 * j) * weight;
  }
#pragma unroll
  for (int j = 0; j < (E + 31) / 32; j++)
    if (lane + 32 * j < E) out[lane + 32 * j] = convert<T>(total == 0.f ? 0.f : joined[j] / total);
}

#ifndef PREFILL
// The queries of a tile of 16 rows as a lane's fragments, and the head and the place of its two rows: row r of a group is query
// r % t of head r / t.
struct Queries { u32 words[DP / 16][4]; int head[2], place[2]; bool live[2]; };
__forceinline__ void load_queries(Queries& y, const T* q, const G& g, int tile, int group, int b, int lane) {
  const int t = (int)g.v[0], each = (int)(g.v[2] / g.v[3]), rows = each * t;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    int row = tile * 16 + lane / 4 + 8 * r;
    y.live[r] = row < rows;
    if (!y.live[r]) row = 0;
    y.head[r] = group * each + row / t; y.place[r] = row % t;
    const T* from = q + b * g.v[6] + y.head[r] * g.v[7] + y.place[r] * g.v[8];
#pragma unroll
    for (int d = 0; d < DP / 16; d++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const int c = d * 16 + e * 8 + lane % 4 * 2;
        y.words[d][r + 2 * e] = y.live[r] && c < D ? *(const u32*)(from + c) : 0u;
      }
  }
}
// Scales the 16 logits of a row from key c0 on, and hides those from `end` on and those that a mask hides.
__forceinline__ void scale_and_mask(float (*x)[4], const Queries& y, float scale, i64 c0, i64 end, const void* mask, const G& g, int b, int lane) {
  const i64 t = g.v[0], s = g.v[1];
#pragma unroll
  for (int j = 0; j < 2; j++) {
#pragma unroll
    for (int e = 0; e < 4; e++) x[j][e] *= scale;
    if (c0 + 16 > end || FLAGS) {
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const i64 limit = !y.live[r] ? 0 : FLAGS & 1 ? s - t + y.place[r] + 1 : s;
        mask_pair(&x[j][2 * r], c0 + j * 8 + lane % 4 * 2, limit < end ? limit : end, FLAGS, mask,
                  b * g.v[15] + y.head[r] * g.v[16] + y.place[r] * g.v[17], g.v[18]);
      }
    }
  }
}
// Leaves a warp's results for join_warps: (warp, row, 2 + EP).
__forceinline__ void leave_results(float* all, const float* top, const float* sum, const float (*acc)[4], int warp, int lane) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float* to = all + (warp * 16 + lane / 4 + 8 * r) * (EP + 2);
    const float total = quad_sum(sum[r]);
    if (lane % 4 == 0) { to[0] = top[r]; to[1] = total; }
#pragma unroll
    for (int j = 0; j < EP / 8; j++) { to[2 + j * 8 + lane % 4 * 2] = acc[j][2 * r]; to[3 + j * 8 + lane % 4 * 2] = acc[j][2 * r + 1]; }
  }
}
// Joins what four warps left of a block's rows, a row for a warp at a time: all = (warp, row, 2 + EP). Then, with LAST, what
// the blocks left of them.
template <bool LAST>
__forceinline__ void join_rows(const float* all, const T* sinks, T* out, float* parts, const G& g, int tile, int group, int b, int span, int warp, int lane) {
  const int t = (int)g.v[0], each = (int)(g.v[2] / g.v[3]), spans = (int)g.v[5];
  for (int r = warp; r < 16 && tile * 16 + r < each * t; r += 4) {
    const int row = tile * 16 + r, h = group * each + row / t;
    const i64 at = (b * g.v[2] + h) * t + row % t;
    const float sink = FLAGS & 8 ? widen(sinks[h]) * LOG2E : -INFINITY_F;
    float* part = parts + at * spans * (E + 2);
    if (LAST) join_spans(part, spans, sink, out + at * E, lane);
    else join_warps(all + r * (EP + 2), sink, spans == 1 ? nullptr : part + span * (E + 2), out + at * E, lane);
  }
}
#endif

#ifdef PREFILL
// A block of 4 warps owns 64 queries of a head, a warp 16; keys come in tiles of BN, of which the next is
// under way while one is used.
#ifndef BN
#define BN 64
#endif
#define BM 64
template <int WIDTH, int USED, int ROW, int ROWS>
__forceinline__ void fetch(u32 to, const T* from, i64 stride, i64 rows) {
  const int each = WIDTH / 8;
#pragma unroll 8
  for (int i = threadIdx.x; i < ROWS * each; i += 128) {
    int r = i / each, c = i % each * 8;
    bool ok = r < rows && c < USED;
    copy_16(to + (r * ROW + c) * 2, from + (ok ? r * stride + c : 0), ok);
  }
}
extern "C" __global__ void __launch_bounds__(128) flash(const T* q, const T* k, const T* v, const void* mask,
    const T* sinks, T* out, double scale_, G g) {
  extern __shared__ __align__(128) u8 memory[];
  const u32 qs = shared_address(memory), ks = qs + BM * DROW * 2, vs = ks + BN * DROW * 2;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, flags = FLAGS;
  const i64 t = g.v[0], s = g.v[1], h = blockIdx.y, b = blockIdx.z, group = h * g.v[3] / g.v[2];
  // The longest rows of a causal product come first.
  const i64 first = (i64)(flags & 1 ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * BM;
  const float scale = (float)scale_ * LOG2E;
  i64 end = s;
  if (flags & 1) { i64 far = s - t + first + BM; end = far < s ? far : s; }
  const T* keys = k + b * g.v[9] + group * g.v[10];
  const T* values = v + b * g.v[12] + group * g.v[13];
  fetch<DP, D, DROW, BM>(qs, q + b * g.v[6] + h * g.v[7] + first * g.v[8], g.v[8], t - first);
  fetch<DP, D, DROW, BN>(ks, keys, g.v[11], end);
  commit_copies();
  fetch<EP, E, EROW, BN>(vs, values, g.v[14], end);
  commit_copies();
  float acc[EP / 8][4], top[2] = {-INFINITY_F, -INFINITY_F}, sum[2] = {0.f, 0.f};
#pragma unroll
  for (int j = 0; j < EP / 8; j++)
#pragma unroll
    for (int e = 0; e < 4; e++) acc[j][e] = 0.f;
  const i64 row = first + warp * 16 + lane / 4;
  const u32 qa = qs + ((warp * 16 + lane % 16) * DROW + lane / 16 * 8) * 2;
  const u32 ka = ks + ((lane % 8 + lane / 16 * 8) * DROW + lane / 8 % 2 * 8) * 2;
  const u32 va = vs + (lane % 16 * EROW + lane / 16 * 8) * 2;
  for (i64 c0 = 0; c0 < end; c0 += BN) {
    wait_copies<1>();
    __syncthreads();
    float x[BN / 8][4];
#pragma unroll
    for (int j = 0; j < BN / 8; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) x[j][e] = 0.f;
#pragma unroll
    for (int d = 0; d < DP; d += 16) {
      u32 a[4], w[4];
      load_4(a, qa + d * 2);
#pragma unroll
      for (int j = 0; j < BN / 8; j += 2) {
        load_4(w, ka + (j * 8 * DROW + d) * 2);
        Unit<T>::mma(x[j], a, w[0], w[1]);
        Unit<T>::mma(x[j + 1], a, w[2], w[3]);
      }
    }
    __syncthreads();
    if (c0 + BN < end) fetch<DP, D, DROW, BN>(ks, keys + (c0 + BN) * g.v[11], g.v[11], end - c0 - BN);
    commit_copies();
    const bool edge = c0 + BN > end || ((flags & 1) && c0 + BN > s - t + first + 1);
#pragma unroll
    for (int j = 0; j < BN / 8; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) x[j][e] *= scale;
      if (edge || (flags & 6)) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
          i64 i = row + 8 * r, limit = flags & 1 ? s - t + i + 1 : s;
          if (i >= t) limit = 0;
          mask_pair(&x[j][2 * r], c0 + j * 8 + lane % 4 * 2, limit < s ? limit : s, flags, mask,
                    b * g.v[15] + h * g.v[16] + i * g.v[17], g.v[18]);
        }
      }
    }
    float keep[2];
    soften<BN / 8>(x, top, sum, keep);
#pragma unroll
    for (int j = 0; j < EP / 8; j++) {
      acc[j][0] *= keep[0]; acc[j][1] *= keep[0]; acc[j][2] *= keep[1]; acc[j][3] *= keep[1];
    }
    wait_copies<1>();
    __syncthreads();
#pragma unroll
    for (int n = 0; n < BN / 16; n++) {
      u32 a[4] = {Unit<T>::pair(x[2 * n][0], x[2 * n][1]), Unit<T>::pair(x[2 * n][2], x[2 * n][3]),
                  Unit<T>::pair(x[2 * n + 1][0], x[2 * n + 1][1]), Unit<T>::pair(x[2 * n + 1][2], x[2 * n + 1][3])}, w[4];
#pragma unroll
      for (int j = 0; j < EP / 8; j += 2) {
        load_4_transposed(w, va + (n * 16 * EROW + j * 8) * 2);
        Unit<T>::mma(acc[j], a, w[0], w[1]);
        Unit<T>::mma(acc[j + 1], a, w[2], w[3]);
      }
    }
    __syncthreads();
    if (c0 + BN < end) fetch<EP, E, EROW, BN>(vs, values + (c0 + BN) * g.v[14], g.v[14], end - c0 - BN);
    commit_copies();
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    i64 i = row + 8 * r;
    float total = quad_sum(sum[r]), by = 1.f;
    if (flags & 8) {
      float sink = widen(sinks[h]) * LOG2E, high = fmaxf(top[r], sink);
      by = exp2_of(top[r] - high); total = total * by + exp2_of(sink - high);
    }
    by = total == 0.f ? 0.f : by / total;
    if (i >= t) continue;
    T* to = out + ((b * g.v[2] + h) * t + i) * E + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < EP / 8; j++)
      if (j * 8 < E) *(u32*)(to + j * 8) = Unit<T>::pair(acc[j][2 * r] * by, acc[j][2 * r + 1] * by);
  }
}
#endif

#ifdef DECODE
// Few queries: the heads of a group and their queries are the rows of one tile of 16, so that keys and
// values are read once. A block owns a span of keys of (batch element, group, tile); its four warps take
// turns of 16 keys, each through STAGES buffers of its own, without a barrier. Row r of a group is query
// r % t of head r / t. Blocks of the same tile leave partial results in `parts` (b, h, t, spans, 2 + E);
// `counters`, one for each tile, are zero before and after.
#ifndef STAGES
#define STAGES 3
#endif
#define STAGE (16 * (DROW + EROW) * 2)
extern "C" __global__ void __launch_bounds__(128) flash_decode(const T* q, const T* k, const T* v, const void* mask,
    const T* sinks, T* out, float* parts, u32* counters, double scale_, G g) {
  extern __shared__ __align__(128) u8 memory[];
  __shared__ u32 arrived;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, b = blockIdx.z;
  const i64 s = g.v[1], group = blockIdx.y % g.v[3], tile = blockIdx.y / g.v[3], span = blockIdx.x;
  const i64 begin = span * g.v[4], end = begin + g.v[4] < s ? begin + g.v[4] : s;
  const u32 mine = shared_address(memory) + warp * STAGES * STAGE;
  const T* keys = k + b * g.v[9] + group * g.v[10];
  const T* values = v + b * g.v[12] + group * g.v[13];
  const float scale = (float)scale_ * LOG2E;
  auto fetch = [&](i64 c0, int stage) {
    u32 to = mine + stage * STAGE;
#pragma unroll
    for (int i = lane; i < 16 * (DP / 8); i += 32) {
      int r = i / (DP / 8), c = i % (DP / 8) * 8;
      bool ok = c0 + r < end && c < D;
      copy_16(to + (r * DROW + c) * 2, keys + (ok ? (c0 + r) * g.v[11] + c : 0), ok);
    }
    to += 16 * DROW * 2;
#pragma unroll
    for (int i = lane; i < 16 * (EP / 8); i += 32) {
      int r = i / (EP / 8), c = i % (EP / 8) * 8;
      bool ok = c0 + r < end && c < E;
      copy_16(to + (r * EROW + c) * 2, values + (ok ? (c0 + r) * g.v[14] + c : 0), ok);
    }
  };
  const i64 start = begin + warp * 16;
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++) {
    if (start + i * 64 < end) fetch(start + i * 64, i);
    commit_copies();
  }
  Queries queries;
  load_queries(queries, q, g, (int)tile, (int)group, b, lane);
  float acc[EP / 8][4], top[2] = {-INFINITY_F, -INFINITY_F}, sum[2] = {0.f, 0.f};
#pragma unroll
  for (int j = 0; j < EP / 8; j++)
#pragma unroll
    for (int e = 0; e < 4; e++) acc[j][e] = 0.f;
  const u32 ka = ((lane % 8 + lane / 16 * 8) * DROW + lane / 8 % 2 * 8) * 2;
  const u32 va = (16 * DROW + lane % 16 * EROW + lane / 16 * 8) * 2;
  int stage = 0;
  for (i64 c0 = start; c0 < end; c0 += 64) {
    wait_copies<STAGES - 2>();
    __syncwarp();
    int next = stage == 0 ? STAGES - 1 : stage - 1;
    if (c0 + (STAGES - 1) * 64 < end) fetch(c0 + (STAGES - 1) * 64, next);
    commit_copies();
    u32 at = mine + stage * STAGE, w[4];
    stage = stage + 1 == STAGES ? 0 : stage + 1;
    float x[2][4] = {{0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}}, keep[2];
#pragma unroll
    for (int d = 0; d < DP / 16; d++) {
      load_4(w, at + ka + d * 32);
      Unit<T>::mma(x[0], queries.words[d], w[0], w[1]);
      Unit<T>::mma(x[1], queries.words[d], w[2], w[3]);
    }
    scale_and_mask(x, queries, scale, c0, end, mask, g, b, lane);
    soften<2>(x, top, sum, keep);
    u32 a[4] = {Unit<T>::pair(x[0][0], x[0][1]), Unit<T>::pair(x[0][2], x[0][3]),
                Unit<T>::pair(x[1][0], x[1][1]), Unit<T>::pair(x[1][2], x[1][3])};
#pragma unroll
    for (int j = 0; j < EP / 8; j += 2) {
#pragma unroll
      for (int u = j; u < j + 2; u++) {
        acc[u][0] *= keep[0]; acc[u][1] *= keep[0]; acc[u][2] *= keep[1]; acc[u][3] *= keep[1];
      }
      load_4_transposed(w, at + va + j * 16);
      Unit<T>::mma(acc[j], a, w[0], w[1]);
      Unit<T>::mma(acc[j + 1], a, w[2], w[3]);
    }
    // All lanes are done with the stage that the next turn overwrites.
    __syncwarp();
  }
  wait_copies<0>();
  __syncthreads();
  // The warps' results meet where the tiles were.
  float* all = (float*)memory;
  leave_results(all, top, sum, acc, warp, lane);
  __syncthreads();
  const int spans = (int)g.v[5];
  join_rows<false>(all, sinks, out, parts, g, (int)tile, (int)group, b, (int)span, warp, lane);
  if (spans == 1) return;
  // The last block of a tile to arrive joins the spans of its rows in order, a warp for each row.
  __threadfence();
  __syncthreads();
  u32* counter = counters + blockIdx.z * gridDim.y + blockIdx.y;
  if (threadIdx.x == 0) arrived = atomicAdd(counter, 1u);
  __syncthreads();
  if (arrived + 1 != spans) return;
  __threadfence();
  if (threadIdx.x == 0) *counter = 0;
  join_rows<true>(all, sinks, out, parts, g, (int)tile, (int)group, b, (int)span, warp, lane);
}
#endif
