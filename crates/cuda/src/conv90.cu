// Convolutions over one or two axes as warpgroup products of compute capability 9.0, on tiles that the copy
// engine gathers: its walk over the places (example, h, w) of the result, each of which is the corner of a
// patch, brings the elements of one tap under 64 channels, and zeros outside of the input (PTX ISA, "im2col
// mode"). Patches and weights lie in shared memory in parts of 64 columns with the swizzle of 128 bytes. One
// thread asks for tiles, WGS warpgroups multiply. Elements T of 16 bits, channels and outputs multiples of 8.
// G: places, outputs, channels, sizes of the kernel (h, w), places (h, w), stride, low, distance of taps, flip,
// steps of a split.
struct G { i64 v[16]; };
#define ROWS g.v[0]
#define OUTPUTS ((int)g.v[1])
#define CHANNELS ((int)g.v[2])
#define KERNEL(a) ((int)g.v[3 + (a)])
#define PLACES(a) ((int)g.v[5 + (a)])
#define STRIDE(a) ((int)g.v[7 + (a)])
#define LOW(a) ((int)g.v[9 + (a)])
#define SPREAD(a) ((int)g.v[11 + (a)])
#define FLIP (g.v[13] != 0)
#define EACH ((int)g.v[14])

// The corner of a place's patch, and its example.
struct Corner { int h, w, example; };
__forceinline__ Corner corner_of(i64 row, const G& g) {
  const i64 line = row / PLACES(1), example = line / PLACES(0);
  return {(int)(line - example * PLACES(0)) * STRIDE(0) - LOW(0), (int)(row - line * PLACES(1)) * STRIDE(1) - LOW(1), (int)example};
}
__forceinline__ void bring_patches(u32 to, const Map* map, u32 barrier, int channel, const Corner& at, int h, int w) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};"
               :: "r"(to), "l"((u64)map), "r"(barrier), "r"(channel), "r"(at.w), "r"(at.h), "r"(at.example), "h"((u16)w), "h"((u16)h) : "memory");
}
#define BARRIERS \
  __shared__ __align__(8) u64 barriers[2 * STAGES]; \
  const u32 base = shared_address(memory), full = shared_address(barriers), empty = full + 8 * STAGES; \
  const int part = threadIdx.x / 128, w = part - 1, lane = threadIdx.x & 31; \
  if (threadIdx.x == 0) { \
    for (int i = 0; i < STAGES; i++) { barrier_start(full + 8 * i, 1); barrier_start(empty + 8 * i, 4 * WGS); } \
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); \
  } \
  __syncthreads();

#ifdef FORWARD
// out (rows, O) = patches (rows, taps * C) times the weight, whose tiles (BN outputs, 64 channels) of a tap are contiguous
// along channels, or with TURNED along outputs. A warpgroup owns 128 rows and BN outputs; blocks stay and take
// every gridDim-th tile, so that the tiles of the next one are on their way while the last is written.
#define SIDE (128 * 128)
#define STAGE (WGS * SIDE + BN * 128)
// Four words of the four lanes that share a row, transposed among them: a lane then holds words that adjoin.
__forceinline__ void transpose_quad(u32* v) {
#pragma unroll
  for (int by = 1; by < 4; by *= 2) {
    const bool high = threadIdx.x & by;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i & by) continue;
      const u32 got = __shfl_xor_sync(0xffffffffu, high ? v[i] : v[i + by], by);
      if (high) v[i] = got; else v[i + by] = got;
    }
  }
}
extern "C" __global__ void __launch_bounds__(128 * (WGS + 1), 1) conv90(const __grid_constant__ Map xmap, const __grid_constant__ Map wmap,
    T* out, G g) {
  extern __shared__ __align__(1024) u8 memory[];
  BARRIERS
  const int across = (OUTPUTS + BN - 1) / BN, chunks = (CHANNELS + 63) / 64;
  const int taps = KERNEL(0) * KERNEL(1), items = (int)((ROWS + WGS * 128 - 1) / (WGS * 128)) * across;
  if (part == 0) {
#if WGS == 2
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
#endif
    if (threadIdx.x != 0) return;
    u32 n = 0;
    for (int item = blockIdx.x; item < items; item += gridDim.x) {
      Corner corner[WGS];
#pragma unroll
      for (int i = 0; i < WGS; i++) corner[i] = corner_of((i64)(item / across * WGS + i) * 128, g);
      const int o = item % across * BN;
      for (int tap = 0; tap < taps; tap++) {
        const int h = tap / KERNEL(1), v = tap - h * KERNEL(1);
        for (int c = 0; c < chunks; c++, n++) {
          const u32 stage = n % STAGES, barrier = full + 8 * stage, to = base + stage * STAGE;
          barrier_wait(empty + 8 * stage, (n / STAGES & 1) ^ 1);
          barrier_expect(barrier, STAGE);
#pragma unroll
          for (int i = 0; i < WGS; i++) bring_patches(to + i * SIDE, &xmap, barrier, c * 64, corner[i], h * SPREAD(0), v * SPREAD(1));
          const int kw = FLIP ? KERNEL(1) - 1 - v : v, kh = FLIP ? KERNEL(0) - 1 - h : h;
#ifdef TURNED
          for (int i = 0; i < BN / 64; i++) bring(to + WGS * SIDE + i * 8192, &wmap, barrier, o + i * 64, c * 64, kw, kh);
#else
          bring(to + WGS * SIDE, &wmap, barrier, c * 64, o, kw, kh);
#endif
        }
      }
    }
    return;
  }
#if WGS == 2
  asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
#endif
  float acc[2][BN / 2];
  u32 n = 0;
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const int steps = taps * chunks;
    for (int step = 0; step < steps; step++, n++) {
      const u32 stage = n % STAGES, at = base + stage * STAGE;
      barrier_wait(full + 8 * stage, n / STAGES & 1);
      product_fence();
      const u64 a = describe(at + w * SIDE, 16);
#ifdef TURNED
      const u64 b = describe(at + WGS * SIDE, 8192);
#else
      const u64 b = describe(at + WGS * SIDE, 16);
#endif
#pragma unroll
      for (int k = 0; k < 4; k++)
#pragma unroll
        for (int i = 0; i < 2; i++)
#ifdef TURNED
          product_shared<BN, 0, 1>(acc[i], a + i * (8192 / 16) + k * 2, b + k * (2048 / 16), step | k);
#else
          product_shared<BN, 0, 0>(acc[i], a + i * (8192 / 16) + k * 2, b + k * 2, step | k);
#endif
      product_commit();
      // The products of the step before have read their tiles.
      product_wait<1>();
      if (lane == 0 && step > 0) barrier_arrive(empty + 8 * ((n - 1) % STAGES));
    }
    product_wait<0>();
    if (lane == 0) barrier_arrive(empty + 8 * ((n - 1) % STAGES));
    const i64 first = (i64)(item / across * WGS + w) * 128 + threadIdx.x % 128 / 32 * 16 + lane / 4;
    const int o = item % across * BN + lane % 4 * 8;
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const i64 row = first + i * 64 + r * 8;
#pragma unroll
        for (int j = 0; j < BN / 32; j++) {
          union { u32 v[4]; Pack<u32, 4> all; } words;
#pragma unroll
          for (int e = 0; e < 4; e++) words.v[e] = Unit<T>::pair(acc[i][j * 16 + e * 4 + 2 * r], acc[i][j * 16 + e * 4 + 2 * r + 1]);
          transpose_quad(words.v);
          if (row < ROWS && o + j * 32 < OUTPUTS) *(Pack<u32, 4>*)(out + row * OUTPUTS + o + j * 32) = words.all;
        }
      }
  }
}
#endif

#ifdef WEIGHT
// out (C, taps, O): for each tap the sum over places of the patches' channel c times the cotangent's output o.
// x (C wide) and the cotangent (rows, O) are both contiguous across the sum. A warpgroup owns a unit, 64 * MH channels of one
// tap, and BN outputs; a block's warpgroups share the cotangent's tiles of 64 places. The places may be cut
// into splits, whose sums go to `parts` (split, C, taps, O) for `join_splits`.
#define SIDE (MH * 8192)
#define STAGE (WGS * SIDE + BN * 128)
extern "C" __global__ void __launch_bounds__(128 * (WGS + 1), 1) conv90_weight(const __grid_constant__ Map xmap, const __grid_constant__ Map cmap,
    T* out, float* parts, G g) {
  extern __shared__ __align__(1024) u8 memory[];
  BARRIERS
  const int across = (OUTPUTS + BN - 1) / BN, deep = (CHANNELS + MH * 64 - 1) / (MH * 64), taps = KERNEL(0) * KERNEL(1);
  const int units = taps * deep, unit = blockIdx.x / across * WGS, o = blockIdx.x % across * BN;
  const int begin = blockIdx.y * EACH, steps = min(EACH, (int)((ROWS + 63) / 64) - begin);
  if (part == 0) {
#if WGS == 3
    asm volatile("setmaxnreg.dec.sync.aligned.u32 32;");
#endif
    if (threadIdx.x != 0) return;
    int channel[WGS], h[WGS], v[WGS];
#pragma unroll
    for (int i = 0; i < WGS; i++) {
      const int u = min(unit + i, units - 1), tap = u / deep;
      channel[i] = u % deep * (MH * 64);
      h[i] = tap / KERNEL(1) * SPREAD(0);
      v[i] = tap % KERNEL(1) * SPREAD(1);
    }
    for (int n = 0; n < steps; n++) {
      const u32 stage = n % STAGES, barrier = full + 8 * stage, to = base + stage * STAGE;
      const Corner corner = corner_of((i64)(begin + n) * 64, g);
      barrier_wait(empty + 8 * stage, (n / STAGES & 1) ^ 1);
      barrier_expect(barrier, STAGE);
#pragma unroll
      for (int i = 0; i < BN / 64; i++) bring(to + WGS * SIDE + i * 8192, &cmap, barrier, o + i * 64, (begin + n) * 64, 0, 0);
#pragma unroll
      for (int i = 0; i < WGS; i++)
#pragma unroll
        for (int j = 0; j < MH; j++) bring_patches(to + i * SIDE + j * 8192, &xmap, barrier, channel[i] + j * 64, corner, h[i], v[i]);
    }
    return;
  }
#if WGS == 3
  asm volatile("setmaxnreg.inc.sync.aligned.u32 160;");
#endif
  float acc[MH][BN / 2];
  for (int n = 0; n < steps; n++) {
    const u32 stage = n % STAGES, at = base + stage * STAGE;
    barrier_wait(full + 8 * stage, n / STAGES & 1);
    product_fence();
    const u64 a = describe(at + w * SIDE, 8192), b = describe(at + WGS * SIDE, 8192);
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int i = 0; i < MH; i++) product_shared<BN, 1, 1>(acc[i], a + i * (8192 / 16) + k * (2048 / 16), b + k * (2048 / 16), n | k);
    product_commit();
    product_wait<1>();
    if (lane == 0 && n > 0) barrier_arrive(empty + 8 * ((n - 1) % STAGES));
  }
  product_wait<0>();
  const int u = unit + w, tap = u / deep;
  if (u >= units) return;
  const int first = u % deep * (MH * 64) + threadIdx.x % 128 / 32 * 16 + lane / 4;
#pragma unroll
  for (int i = 0; i < MH; i++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const int c = first + i * 64 + r * 8;
#pragma unroll
      for (int j = 0; j < BN / 8; j++) {
        const int to = o + j * 8 + lane % 4 * 2;
        if (c >= CHANNELS || to >= OUTPUTS) continue;
        const i64 place = ((i64)c * taps + tap) * OUTPUTS + to;
        const float lo = acc[i][j * 4 + 2 * r], hi = acc[i][j * 4 + 2 * r + 1];
        if (gridDim.y > 1) *(float2*)(parts + (i64)blockIdx.y * CHANNELS * taps * OUTPUTS + place) = make_float2(lo, hi);
        else *(u32*)(out + place) = Unit<T>::pair(lo, hi);
      }
    }
}
#endif
