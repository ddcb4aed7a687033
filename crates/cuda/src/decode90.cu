// Few queries and long caches on compute capability 9.0: as `flash_decode` in flash.cu, whose arguments these are, with a thread
// that asks the copy engine for keys and values. A block owns a span of keys of (batch element, group, tile of 16 rows); turns
// of 64 keys pass through STAGES buffers, in parts of 64 columns with the swizzle of 128 bytes, and four warps take 16
// keys of each. A block that begins within a head and ends within another takes 1.04 of the time, on an H100.
#define TURN 64
#define DC ((D + 63) / 64)
#define EC ((E + 63) / 64)
#define PART (TURN * 128)
#define STAGE ((DC + EC) * PART)

__forceinline__ void consumers_meet() { asm volatile("bar.sync 1, 128;" ::: "memory"); }

extern "C" __global__ void __launch_bounds__(160) decode90(const __grid_constant__ Map kmap, const __grid_constant__ Map vmap,
    const T* q, const void* mask, const T* sinks, T* out, float* parts, u32* counters, double scale_, G g) {
  extern __shared__ __align__(1024) u8 memory[];
  __shared__ __align__(8) u64 barriers[2 * STAGES];
  __shared__ u32 arrived;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int s = (int)g.v[1], groups = (int)g.v[3], span = blockIdx.x, b = blockIdx.z;
  const int group = blockIdx.y % groups, tile = blockIdx.y / groups;
  const int begin = span * (int)g.v[4], end = min(begin + (int)g.v[4], s), spans = (int)g.v[5];
  const u32 base = shared_address(memory), full = shared_address(barriers), empty = full + 8 * STAGES;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) { barrier_start(full + 8 * i, 1); barrier_start(empty + 8 * i, 4); }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (warp == 4) {
    if (lane != 0) return;
    for (int c0 = begin, n = 0; c0 < end; c0 += TURN, n++) {
      const u32 stage = n % STAGES, barrier = full + 8 * stage, to = base + stage * STAGE;
      barrier_wait(empty + 8 * stage, (n / STAGES & 1) ^ 1);
      barrier_expect(barrier, STAGE);
#pragma unroll
      for (int c = 0; c < DC; c++) bring(to + c * PART, &kmap, barrier, c * 64, c0, group, b);
#pragma unroll
      for (int c = 0; c < EC; c++) bring(to + (DC + c) * PART, &vmap, barrier, c * 64, c0, group, b);
    }
    return;
  }
  const float scale = (float)scale_ * LOG2E;
  Queries queries;
  load_queries(queries, q, g, tile, group, b, lane);
  float acc[EP / 8][4], top[2] = {-INFINITY_F, -INFINITY_F}, sum[2] = {0.f, 0.f};
#pragma unroll
  for (int j = 0; j < EP / 8; j++)
#pragma unroll
    for (int e = 0; e < 4; e++) acc[j][e] = 0.f;
  // The lane's rows within a part, and what the swizzle does to their columns.
  const u32 ka = (warp * 16 + lane % 8 + lane / 16 * 8) * 128, va = DC * PART + (warp * 16 + lane % 16) * 128;
  const int turned = lane & 7, ks = lane / 8 % 2, vs = lane / 16;
  for (int first = begin, n = 0; first < end; first += TURN, n++) {
    const u32 stage = n % STAGES, at = base + stage * STAGE;
    const int c0 = first + warp * 16;
    barrier_wait(full + 8 * stage, n / STAGES & 1);
    u32 w[4];
    float x[2][4] = {{0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}}, keep[2];
#pragma unroll
    for (int d = 0; d < DP / 16; d++) {
      load_4(w, at + ka + d / 4 * PART + ((d % 4 * 2 + ks) ^ turned) * 16);
      Unit<T>::mma(x[0], queries.words[d], w[0], w[1]);
      Unit<T>::mma(x[1], queries.words[d], w[2], w[3]);
    }
    scale_and_mask(x, queries, scale, c0, end, mask, g, b, lane);
    soften<2>(x, top, sum, keep);
    const u32 a[4] = {Unit<T>::pair(x[0][0], x[0][1]), Unit<T>::pair(x[0][2], x[0][3]),
                      Unit<T>::pair(x[1][0], x[1][1]), Unit<T>::pair(x[1][2], x[1][3])};
#pragma unroll
    for (int j = 0; j < EP / 8; j += 2) {
#pragma unroll
      for (int u = j; u < j + 2; u++) {
        acc[u][0] *= keep[0]; acc[u][1] *= keep[0]; acc[u][2] *= keep[1]; acc[u][3] *= keep[1];
      }
      load_4_transposed(w, at + va + j / 8 * PART + ((j % 8 + vs) ^ turned) * 16);
      Unit<T>::mma(acc[j], a, w[0], w[1]);
      Unit<T>::mma(acc[j + 1], a, w[2], w[3]);
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(empty + 8 * stage);
  }
  // The warps' results meet beside the tiles.
  float* all = (float*)(memory + STAGES * STAGE);
  leave_results(all, top, sum, acc, warp, lane);
  consumers_meet();
  join_rows<false>(all, sinks, out, parts, g, tile, group, b, span, warp, lane);
  if (spans == 1) return;
  // The last block of a tile to arrive joins the spans of its rows in order, a warp for each row.
  __threadfence();
  consumers_meet();
  u32* counter = counters + blockIdx.z * gridDim.y + blockIdx.y;
  if (threadIdx.x == 0) {
    arrived = atomicAdd(counter, 1u);
    if (arrived + 1 == (u32)spans) *counter = 0;
  }
  consumers_meet();
  if (arrived + 1 != (u32)spans) return;
  __threadfence();
  join_rows<true>(all, sinks, out, parts, g, tile, group, b, span, warp, lane);
}
