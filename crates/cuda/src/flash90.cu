// The product of flash.cu by warpgroup products of compute capability 9.0 (wgmma) on tiles that the copy
// engine brings (Shah et al., "FlashAttention-3", 2024): one warpgroup asks for tiles, two compute 64
// queries of a head each, and the products of one tile run while the other's weights are computed. Blocks
// stay, one on each multiprocessor, and take items from `counter` (zero before and after), so that tiles of the
// next one are on their way while the last is written.
// Tensor maps describe q (D, t, h, b), k (D, s, g, b), v (E, s, g, b) in boxes of 64 columns, which lie
// in shared memory with the swizzle of 128 bytes: (64-column part, row, 64). Parts outside an array are 0.
// Elements T of 16 bits, D and E at most 128. G and FLAGS as in flash.cu, then g.v[27], the length of a head's row of
// `logs`: the logarithms to base 2 of the softmax's sums, for gradients (grad90.cu). scale is positive.
struct G { i64 v[64]; };
#define DC ((D + 63) / 64)
#define EC ((E + 63) / 64)
#define BM 128
#define BN 128
#define STAGES 2
#define LOG2E 1.4426950408889634f
// Named barriers of the two computing warpgroups: one waits at its own for the other to let it go.
__forceinline__ void take_turn(int w) { asm volatile("bar.sync %0, 256;" :: "r"(w + 1) : "memory"); }
__forceinline__ void let_go(int w) { asm volatile("bar.arrive %0, 256;" :: "r"(w + 1) : "memory"); }

// acc (64, EC * 64) += weights v part: weights in registers, v contiguous along its columns.
__forceinline__ void product_pv(float* acc, const u32* a, u64 b) {
#if EC == 2
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." KIND "." KIND " " LIST64 ", {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
               : F16(acc, 0), F16(acc, 16), F16(acc, 32), F16(acc, 48) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#else
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." KIND "." KIND " " LIST32 ", {%32,%33,%34,%35}, %36, 1, 1, 1, 1;"
               : F16(acc, 0), F16(acc, 16) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#endif
}

// Hides keys that a query does not see, and adds masks, divided by the factor that the logits meet later.
__forceinline__ void hide(float* x, int c0, int row, int h, int b, const void* mask, float scale, const G& g) {
  const int lane = threadIdx.x & 31, t = (int)g.v[0], s = (int)g.v[1];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    int i = row + 8 * r, limit = min(s, FLAGS & 1 ? s - t + i + 1 : s);
    if (i >= t) limit = 0;
    i64 at = FLAGS & 6 ? b * g.v[15] + h * g.v[16] + i * g.v[17] : 0;
#pragma unroll
    for (int j = 0; j < BN / 8; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        int c = c0 + j * 8 + lane % 4 * 2 + e;
        float& y = x[j * 4 + 2 * r + e];
        if (c >= limit) y = -INFINITY_F;
        else if (FLAGS & 2) { if (!((const bool*)mask)[at + c * g.v[18]]) y = -INFINITY_F; }
        else if (FLAGS & 4) y += widen(((const T*)mask)[at + c * g.v[18]]) * scale;
      }
  }
}
// Logits to weights; running maxima (not yet scaled) and sums; factors for what was summed before.
__forceinline__ void soften(float* x, float* top, float* sum, float* keep, float scale) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float high = top[r];
#pragma unroll
    for (int j = 0; j < BN / 8; j++) high = fmaxf(high, fmaxf(x[j * 4 + 2 * r], x[j * 4 + 2 * r + 1]));
    high = quad_max(high);
    float base = high == -INFINITY_F ? 0.f : high * scale;
    keep[r] = exp2_of(top[r] * scale - base);
    top[r] = high;
    float part = 0.f;
#pragma unroll
    for (int j = 0; j < BN / 8; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float& y = x[j * 4 + 2 * r + e];
        y = exp2_of(fmaf(y, scale, -base)); part += y;
      }
    sum[r] = sum[r] * keep[r] + part;
  }
}
__forceinline__ void round_weights(const float* x, u32* p) {
#pragma unroll
  for (int j = 0; j < BN / 4; j++) p[j] = Unit<T>::pair(x[2 * j], x[2 * j + 1]);
}

extern "C" __global__ void __launch_bounds__(384, 1) flash90(const __grid_constant__ Map qmap, const __grid_constant__ Map kmap,
    const __grid_constant__ Map vmap, const void* mask, const T* sinks, T* out, float* logs, u32* counter, double scale_, G g) {
  extern __shared__ __align__(1024) u8 memory[];
  __shared__ __align__(8) u64 barriers[2 + 4 * STAGES];
  __shared__ u32 taken[2];
  const u32 qs = shared_address(memory), ks = qs + DC * BM * 128, vs = ks + STAGES * DC * BN * 128;
  const u32 q_full = shared_address(barriers), q_empty = q_full + 8, k_full = q_full + 16, v_full = k_full + 8 * STAGES,
            k_empty = v_full + 8 * STAGES, v_empty = k_empty + 8 * STAGES;
  const int t = (int)g.v[0], s = (int)g.v[1], part = threadIdx.x / 128;
  const int heads = (int)g.v[2];
  const u32 rows = (t + BM - 1) / BM, items = (u32)g.v[20] * heads * rows;
  if (threadIdx.x == 0) {
    barrier_start(q_full, 1); barrier_start(q_empty, 256);
    for (int i = 0; i < STAGES; i++) {
      barrier_start(k_full + 8 * i, 1); barrier_start(v_full + 8 * i, 1);
      barrier_start(k_empty + 8 * i, 2); barrier_start(v_empty + 8 * i, 2);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  // An item is 128 queries of a head; items of a head follow each other, so that its keys and values stay in
  // the cache, and of a causal product the longest come first. Blocks take them as they get free.
  int first, h, b, group, tiles;
  auto locate = [&](u32 item) {
    const u32 head = item / rows, row = item - head * rows;
    first = (int)(FLAGS & 1 ? rows - 1 - row : row) * BM;
    b = (int)head / heads; h = (int)head - b * heads; group = (int)((i64)h * g.v[3] / heads);
    const int end = FLAGS & 1 ? min(s, s - t + first + BM) : s;
    tiles = end > 0 ? (end + BN - 1) / BN : 0;
  };
  // Tiles and items are counted through, so that the barriers' phases follow from the counts.
  int done = 0;
  if (part == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x != 0) return;
    for (u32 turn = 0;; turn++) {
      const u32 item = atomicAdd(counter, 1u);
      // The last to ask leaves the counter as it was.
      if (item == items + gridDim.x - 1) *counter = 0;
      barrier_wait(q_empty, (turn & 1) ^ 1);
      taken[turn & 1] = item;
      if (item >= items) { barrier_arrive(q_full); return; }
      locate(item);
      if (tiles == 0) { barrier_arrive(q_full); continue; }
      barrier_expect(q_full, DC * BM * 128);
      for (int w = 0; w < 2; w++)
        for (int c = 0; c < DC; c++) bring(qs + (w * DC + c) * 64 * 128, &qmap, q_full, c * 64, first + w * 64, h, b);
      for (int i = 0; i < tiles; i++, done++) {
        // Tiles come from the last, whose keys alone may need masks.
        const int stage = done % STAGES, row = (tiles - 1 - i) * BN;
        const u32 parity = (done / STAGES & 1) ^ 1;
        barrier_wait(k_empty + 8 * stage, parity);
        barrier_expect(k_full + 8 * stage, DC * BN * 128);
        for (int c = 0; c < DC; c++) bring(ks + (stage * DC + c) * BN * 128, &kmap, k_full + 8 * stage, c * 64, row, group, b);
        barrier_wait(v_empty + 8 * stage, parity);
        barrier_expect(v_full + 8 * stage, EC * BN * 128);
        for (int c = 0; c < EC; c++) bring(vs + (stage * EC + c) * BN * 128, &vmap, v_full + 8 * stage, c * 64, row, group, b);
      }
    }
  }
  asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
  const int w = part - 1, thread = threadIdx.x % 128, lane = threadIdx.x & 31;
  const float scale = (float)scale_ * LOG2E, unscale = 1.f / (float)scale_;
  const u64 qd = describe(qs + w * DC * 64 * 128, 16);
  float x[BN / 2], acc[EC * 32], top[2], sum[2], keep[2];
  u32 p[BN / 4];
#define QK(n) { \
    const u64 kd = describe(ks + (n) % STAGES * DC * BN * 128, 16); \
    _Pragma("unroll") for (int d = 0; d < DC * 4; d++) \
      product_shared<BN, 0, 0>(x, qd + d / 4 * (64 * 128 / 16) + d % 4 * 2, kd + d / 4 * (BN * 128 / 16) + d % 4 * 2, d); }
#define PV(n) { \
    const u64 vd = describe(vs + (n) % STAGES * EC * BN * 128, BN * 128); \
    _Pragma("unroll") for (int n = 0; n < BN / 16; n++) product_pv(acc, p + 4 * n, vd + n * (2048 / 16)); }
#define SOFTEN(i) { \
    const int c0 = (tiles - 1 - (i)) * BN; \
    if (c0 + BN > clear || (FLAGS & 6)) hide(x, c0, row, h, b, mask, unscale, g); \
    soften(x, top, sum, keep, scale); }
  // The warpgroups take turns to ask for products, so that one computes weights while the other's run.
  if (w == 1) let_go(0);
  for (u32 turn = 0;; turn++) {
    barrier_wait(q_full, turn & 1);
    const u32 item = taken[turn & 1];
    if (item >= items) return;
    locate(item);
    const int row = first + w * 64 + thread / 32 * 16 + lane / 4;
    // Keys from here on are hidden from some query of the warpgroup.
    const int clear = FLAGS & 1 ? min(s - t + first + w * 64 + 1, s) : s;
#pragma unroll
    for (int j = 0; j < EC * 32; j++) acc[j] = 0.f;
    top[0] = top[1] = -INFINITY_F; sum[0] = sum[1] = 0.f;
    // Every thread by itself: it has read the item's number.
    if (tiles == 0) barrier_arrive(q_empty);
    if (tiles > 0) {
      barrier_wait(k_full + 8 * (done % STAGES), done / STAGES & 1);
      take_turn(w);
      product_fence();
      QK(done);
      product_commit();
      let_go(w ^ 1);
      product_wait<0>();
      if (thread == 0) barrier_arrive(k_empty + 8 * (done % STAGES));
      if (tiles == 1) barrier_arrive(q_empty);
      SOFTEN(0);
      round_weights(x, p);
      for (int i = 1; i < tiles; i++) {
        const int before = done++;
        barrier_wait(k_full + 8 * (done % STAGES), done / STAGES & 1);
        barrier_wait(v_full + 8 * (before % STAGES), before / STAGES & 1);
        take_turn(w);
        product_fence();
        QK(done);
        product_commit();
        PV(before);
        product_commit();
        let_go(w ^ 1);
        product_wait<1>();
        if (thread == 0) barrier_arrive(k_empty + 8 * (done % STAGES));
        if (i + 1 == tiles) barrier_arrive(q_empty);
        SOFTEN(i);
        product_wait<0>();
        if (thread == 0) barrier_arrive(v_empty + 8 * (before % STAGES));
        // Maxima seldom rise after the first tiles.
        if (__any_sync(0xffffffffu, keep[0] != 1.f || keep[1] != 1.f)) {
#pragma unroll
          for (int j = 0; j < EC * 32; j++) acc[j] *= keep[j / 2 % 2];
        }
        round_weights(x, p);
      }
      barrier_wait(v_full + 8 * (done % STAGES), done / STAGES & 1);
      product_fence();
      PV(done);
      product_commit();
      product_wait<0>();
      if (thread == 0) barrier_arrive(v_empty + 8 * (done % STAGES));
      done++;
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      int i = row + 8 * r;
      float total = quad_sum(sum[r]), by = 1.f, base = top[r] * scale;
      if (FLAGS & 8) {
        float sink = widen(sinks[h]) * LOG2E, high = fmaxf(base, sink);
        by = exp2_of(base - high); total = total * by + exp2_of(sink - high); base = high;
      }
      // A row without keys weighs nothing: 2^(x - inf) is 0.
      if (lane % 4 == 0 && i < g.v[27]) logs[((i64)b * heads + h) * g.v[27] + i] = total > 0.f && i < t ? base + log2f(total) : INFINITY_F;
      by = total > 0.f ? by / total : 0.f;
      if (i >= t) continue;
      T* to = out + (((i64)b * heads + h) * t + i) * E + lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < EC * 8; j++)
        if (j * 8 < E) *(u32*)(to + j * 8) = Unit<T>::pair(acc[j * 4 + 2 * r] * by, acc[j * 4 + 2 * r + 1] * by);
    }
  }
}
