// The product of flash.cu by warpgroup products of compute capability 9.0 (wgmma) on tiles that the copy
// engine brings (Shah et al., "FlashAttention-3", 2024): one warpgroup asks for tiles, two compute 64
// queries of a head each, and the products of one tile run while the other's weights are computed. Blocks
// stay, one on each multiprocessor, and take items from `counter` (zero before and after), so that tiles of the
// next one are on their way while the last is written.
// Tensor maps describe q (D, t, h, b), k (D, s, g, b), v (E, s, g, b) in boxes of 64 columns, which lie
// in shared memory with the swizzle of 128 bytes: (64-column part, row, 64). Parts outside an array are 0.
// Elements T of 16 bits, D and E at most 128; results leave by the copy engine too. A row's weights are powers of two of
// what its logits exceed a base by, which is the maximum of the first tile that it meets, and of all so far where weights of
// a later tile are large: no tile needs its maximum first.
// G and FLAGS as in logits.cuh, then g.v[27], the length of a head's row of `logs`: the logarithms to base 2 of the softmax's
// sums, for gradients (grad90.cu). scale is positive.
struct G { i64 v[64]; };
#define DC ((D + 63) / 64)
#define EC ((E + 63) / 64)
#define BM 128
#define BN 128
#define STAGES 2
// The most that a thread's weights of one row and tile may sum up to; float16 has room for 32 times as much.
#define LARGE 2048.f
#define LOG2E 1.4426950408889634f
// Named barriers: of one computing warpgroup, and two at which one waits for the other to let it go.
__forceinline__ void meet(int w) { asm volatile("bar.sync %0, 128;" :: "r"(w + 3) : "memory"); }
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
// Logits to weights, in pairs, as powers of two of what they exceed `base` by; the sums of the thread's.
__forceinline__ void weigh(const float* x, u32* p, const float* base, float* part, float scale) {
#pragma unroll
  for (int r = 0; r < 2; r++) part[r] = 0.f;
#pragma unroll
  for (int j = 0; j < BN / 8; j++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float* y = x + j * 4 + 2 * r;
      const float low = exp2_of(fmaf(y[0], scale, -base[r])), high = exp2_of(fmaf(y[1], scale, -base[r]));
      part[r] += low + high;
      p[2 * j + r] = Unit<T>::pair(low, high);
    }
}
// Raises the bases to the greatest logits so far; factors for what was summed before.
__forceinline__ void rise(const float* x, float* base, float* keep, float scale) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float high = x[2 * r];
#pragma unroll
    for (int j = 0; j < BN / 8; j++) high = fmaxf(high, fmaxf(x[j * 4 + 2 * r], x[j * 4 + 2 * r + 1]));
    high = fmaxf(base[r], quad_max(high) * scale);
    keep[r] = high == -INFINITY_F ? 1.f : exp2_of(base[r] - high);
    base[r] = high;
  }
}

// Products read their weights from registers until the wait for them. The compiler (NVRTC 13.0) does not know that, and
// would keep other numbers there before; a read behind the wait, which is never made (`never` is at least 0), holds them.
__forceinline__ void hold(const u32* p, int never, u32 at) {
#pragma unroll
  for (int j = 0; j < BN / 4; j += 4)
    asm volatile("{\n.reg .pred p;\nsetp.lt.s32 p, %4, 0;\n@p st.shared.v4.b32 [%5], {%0, %1, %2, %3};\n}"
                 :: "r"(p[j]), "r"(p[j + 1]), "r"(p[j + 2]), "r"(p[j + 3]), "r"(never), "r"(at) : "memory");
}

extern "C" __global__ void __launch_bounds__(384, 1) flash90(const __grid_constant__ Map qmap, const __grid_constant__ Map kmap,
    const __grid_constant__ Map vmap, const __grid_constant__ Map outmap, const void* mask, const T* sinks, float* logs, u32* counter,
    double scale_, G g) {
  extern __shared__ __align__(1024) u8 memory[];
  __shared__ __align__(8) u64 barriers[4 + 4 * STAGES];
  __shared__ u32 taken[2];
  const u32 qs = shared_address(memory), ks = qs + 2 * DC * BM * 128, vs = ks + STAGES * DC * BN * 128, outs = vs + STAGES * EC * BN * 128;
  const u32 q_full = shared_address(barriers), q_empty = q_full + 16, k_full = q_full + 32, v_full = k_full + 8 * STAGES,
            k_empty = v_full + 8 * STAGES, v_empty = k_empty + 8 * STAGES;
  const int t = (int)g.v[0], s = (int)g.v[1], part = threadIdx.x / 128;
  const int heads = (int)g.v[2];
  const u32 rows = (t + BM - 1) / BM, items = (u32)g.v[20] * heads * rows;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; i++) { barrier_start(q_full + 8 * i, 1); barrier_start(q_empty + 8 * i, 256); }
    for (int i = 0; i < STAGES; i++) {
      barrier_start(k_full + 8 * i, 1); barrier_start(v_full + 8 * i, 1);
      barrier_start(k_empty + 8 * i, 2); barrier_start(v_empty + 8 * i, 2);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  // An item is 128 queries of a head; items of a head follow each other, so that its keys and values stay in
  // the cache, and of a causal product the longest come first. Blocks take them as they get free.
  int first, h, b, tiles;
  auto locate = [&](u32 item) {
    const u32 head = item / rows, row = item - head * rows;
    first = (int)(FLAGS & 1 ? rows - 1 - row : row) * BM;
    b = (int)head / heads; h = (int)head - b * heads;
    const int end = FLAGS & 1 ? min(s, s - t + first + BM) : s;
    tiles = end > 0 ? (end + BN - 1) / BN : 0;
  };
  // Tiles and items are counted through, so that the barriers' phases follow from the counts.
  int done = 0;
  if (part == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x != 0) return;
    u32 item = atomicAdd(counter, 1u);
    for (u32 turn = 0;; turn++) {
      const u32 slot = turn & 1, full = q_full + 8 * slot, to = qs + slot * DC * BM * 128;
      // The last to ask leaves the counter as it was.
      if (item == items + gridDim.x - 1) *counter = 0;
      barrier_wait(q_empty + 8 * slot, (turn / 2 & 1) ^ 1);
      taken[slot] = item;
      if (item >= items) { barrier_arrive(full); return; }
      locate(item);
      const int group = (int)((i64)h * g.v[3] / heads);
      item = atomicAdd(counter, 1u);
      if (tiles == 0) { barrier_arrive(full); continue; }
      barrier_expect(full, DC * BM * 128);
      for (int w = 0; w < 2; w++)
        for (int c = 0; c < DC; c++) bring(to + (w * DC + c) * 64 * 128, &qmap, full, c * 64, first + w * 64, h, b);
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
  // Rows of the warpgroup that this thread holds, from the item's first; and where its warp's results lie.
  const int mine = w * 64 + thread / 32 * 16 + lane / 4;
  const u32 own = outs + w * EC * 8192, lines = own + (thread / 32 * 16 + (lane & 15)) * 128;
  float x[BN / 2], acc[EC * 32], base[2], sum[2], keep[2];
  u32 even[BN / 4], odd[BN / 4];
#define QK(n, slot) { \
    const u64 kd = describe(ks + (n) % STAGES * DC * BN * 128, 16), at = qd + (slot) * (DC * BM * 128 / 16); \
    _Pragma("unroll") for (int d = 0; d < DC * 4; d++) \
      product_shared<BN, 0, 0>(x, at + d / 4 * (64 * 128 / 16) + d % 4 * 2, kd + d / 4 * (BN * 128 / 16) + d % 4 * 2, d); }
#define PV(n) { \
    const u64 vd = describe(vs + (n) % STAGES * EC * BN * 128, BN * 128); \
    _Pragma("unroll") for (int n = 0; n < BN / 16; n++) product_pv(acc, p + 4 * n, vd + n * (2048 / 16)); }
  // Takes the tile's maxima as bases only where they are needed: weights that are too large, or not numbers, tell.
#define WEIGH(i) { \
    const int c0 = (tiles - 1 - (i)) * BN; \
    if (c0 + BN > clear || (FLAGS & 6)) hide(x, c0, first + mine, h, b, mask, unscale, g); \
    float part[2]; \
    rose = (i) == 0 || (FLAGS & 6); \
    if (!rose) { \
      weigh(x, next, base, part, scale); \
      rose = __any_sync(0xffffffffu, !(part[0] <= LARGE && part[1] <= LARGE)); \
      if (!rose) { sum[0] += part[0]; sum[1] += part[1]; } \
    } \
    if (rose) { \
      rise(x, base, keep, scale); \
      const float from[2] = {base[0] == -INFINITY_F ? 0.f : base[0], base[1] == -INFINITY_F ? 0.f : base[1]}; \
      weigh(x, next, from, part, scale); \
      sum[0] = sum[0] * keep[0] + part[0]; sum[1] = sum[1] * keep[1] + part[1]; \
    } }
  u32 turn = 0;
  int clear;
  // Writes the sums of an item's rows, divided by those of their weights.
  auto leave = [&](u32 item, const float* base, const float* sum, bool empty) {
    const u32 head = item / rows, row = item - head * rows;
    const int first = (int)(FLAGS & 1 ? rows - 1 - row : row) * BM, b = (int)head / heads, h = (int)head - b * heads;
    float by[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const int i = first + mine + 8 * r;
      float total = quad_sum(sum[r]), from = base[r];
      by[r] = 1.f;
      if (FLAGS & 8) {
        float sink = widen(sinks[h]) * LOG2E, high = total > 0.f ? fmaxf(from, sink) : sink;
        by[r] = exp2_of(from - high); total = total * by[r] + exp2_of(sink - high); from = high;
      }
      // A row without keys weighs nothing: 2^(x - inf) is 0.
      const bool none = total == 0.f || i >= t;
      if (lane % 4 == 0 && i < g.v[27]) logs[(i64)head * g.v[27] + i] = none ? INFINITY_F : from + log2f(total);
      by[r] = none ? 0.f : by[r] / total;
    }
    // The copy engine has read what was there before.
    if (thread == 0) asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
    meet(w);
#pragma unroll
    for (int j = 0; j < EC * 8; j += 2) {
      const u32 column = (j % 8 + (lane >> 4)) ^ (lane & 7);
      const float* a = acc + j * 4;
      u32 pairs[4];
#pragma unroll
      for (int e = 0; e < 4; e++) pairs[e] = empty ? 0u : Unit<T>::pair(a[2 * e] * by[e % 2], a[2 * e + 1] * by[e % 2]);
      store_4(lines + j / 8 * 8192 + column * 16, pairs[0], pairs[1], pairs[2], pairs[3]);
    }
    show_writes();
    meet(w);
    if (thread == 0) {
      for (int c = 0; c < EC; c++) send(&outmap, own + c * 8192, c * 64, first + w * 64, h, b);
      asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    }
  };
  // The next item with keys, and whether there is one; rows without keys are 0.
  u32 item;
  auto acquire = [&]() -> bool {
    for (;; turn++) {
      barrier_wait(q_full + 8 * (turn & 1), turn / 2 & 1);
      item = taken[turn & 1];
      if (item >= items) return false;
      locate(item);
      base[0] = base[1] = -INFINITY_F; sum[0] = sum[1] = 0.f;
      // Keys from here on are hidden from some query of the warpgroup.
      clear = FLAGS & 1 ? min(s - t + first + w * 64 + 1, s) : s;
      if (!(FLAGS & 1) || tiles > 0) return true;
      leave(item, base, sum, true);
      barrier_arrive(q_empty + 8 * (turn & 1));
    }
  };
#pragma unroll
  for (int j = 0; j < EC * 32; j++) acc[j] = 0.f;
  // The warpgroups take turns to ask for products, so that one computes weights while the other's run. The first
  // product of an item runs with the last one of the item before.
  if (w == 1) let_go(0);
  bool more = acquire(), rose = true;
  if (more) {
    barrier_wait(k_full, 0);
    take_turn(w);
    product_fence();
    QK(0, turn & 1);
    product_commit();
    let_go(w ^ 1);
    product_wait<0>();
    if (thread == 0) barrier_arrive(k_empty);
    if (tiles == 1) barrier_arrive(q_empty + 8 * (turn & 1));
    u32* next = even;
    WEIGH(0);
  }
  // Products of a tile's weights, while those of the next tile's logits become weights.
  int i = 0;
  auto step = [&](const u32* p, u32* next) {
    const int before = done++;
    const bool last = ++i == tiles;
    const u32 old = item;
    float old_base[2], old_sum[2];
    if (last) {
      old_base[0] = base[0]; old_base[1] = base[1]; old_sum[0] = sum[0]; old_sum[1] = sum[1];
      turn++; i = 0;
      more = acquire();
    }
    if (more) barrier_wait(k_full + 8 * (done % STAGES), done / STAGES & 1);
    barrier_wait(v_full + 8 * (before % STAGES), before / STAGES & 1);
    take_turn(w);
    product_fence();
    QK(done, turn & 1);
    product_commit();
    PV(before);
    product_commit();
    let_go(w ^ 1);
    product_wait<1>();
    if (more) {
      if (thread == 0) barrier_arrive(k_empty + 8 * (done % STAGES));
      if (i + 1 == tiles) barrier_arrive(q_empty + 8 * (turn & 1));
      WEIGH(i);
    }
    product_wait<0>();
    if (thread == 0) barrier_arrive(v_empty + 8 * (before % STAGES));
    if (last) {
      leave(old, old_base, old_sum, false);
#pragma unroll
      for (int j = 0; j < EC * 32; j++) acc[j] = 0.f;
    } else if (rose) {
      hold(p, t, outs);
#pragma unroll
      for (int j = 0; j < EC * 32; j++) acc[j] *= keep[j / 2 % 2];
    }
  };
  // Weights have two sets of registers, by turns: one set is read while the other is written.
  while (more) {
    step(even, odd);
    if (!more) break;
    step(odd, even);
  }
  if (thread == 0) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
