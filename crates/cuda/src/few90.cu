// out (batch, m, n) = by x w + beside, for few rows of x (batch, m, k), as warpgroup products of compute capability 9.0.
// Elements T of 16 bits, sums in float, results O. w (batch, k, n) lies along k, or with ACROSS along n.
//
// The product is computed as w^T x^T: a block is one warpgroup, which owns 64 columns of w and all rows of x, of which there
// are at most M, and a warp whose first lane asks the copy engine for tiles of 64 elements of k, which pass through STAGES
// buffers; rows, columns and elements of k past the end are zeros. k is cut among the SPLITS blocks of a cluster, which add
// their sums in order, each for its part of the result.
// G: m, n, k, strides of out (batch, m), of what is beside it (batch, m), flags: 1 a vector (n), 2 an array (batch, m, n), 4 four
// neighbours at a time.
struct G { i64 v[16]; };
#define XTILE (M * 128)
#define WTILE 8192
#define STAGE (WTILE + XTILE)
#define COLUMNS 64
#define THREADS 160
// Floats from the sums of one row of x to those of the next.
#define APART (COLUMNS + 4)

// x (64, M) += a b^T for 16 elements of k, both in shared memory; a lies along k, or with ACROSS along its rows.
#ifdef ACROSS
#define TURN "1"
#define PARTS 8192
#define STEP (2048 / 16)
#else
#define TURN "0"
#define PARTS 16
#define STEP 2
#endif
#define LIST4 "{%0,%1,%2,%3}"
#define LIST8 "{%0,%1,%2,%3,%4,%5,%6,%7}"
#define LIST16 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}"
#define PRODUCT(n, list, A, B, ...) \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" n "k16.f32." KIND "." KIND " " list ", %" A ", %" B ", 1, 1, 1, " TURN ", 0;" \
               : __VA_ARGS__ : "l"(a), "l"(b))
__forceinline__ void multiply(float* x, u64 a, u64 b) {
#if M == 8
  PRODUCT("8", LIST4, "4", "5", F4(x, 0));
#elif M == 16
  PRODUCT("16", LIST8, "8", "9", F4(x, 0), F4(x, 4));
#elif M == 32
  PRODUCT("32", LIST16, "16", "17", F16(x, 0));
#else
  PRODUCT("64", LIST32, "32", "33", F16(x, 0), F16(x, 16));
#endif
}

extern "C" __global__ void __cluster_dims__(1, 1, SPLITS) __launch_bounds__(THREADS) few90(const __grid_constant__ Map xmap,
    const __grid_constant__ Map wmap, O* out, const O* beside, double by_, double besides_, G g) {
  extern __shared__ __align__(1024) u8 memory[];
  __shared__ __align__(8) u64 barriers[2 * STAGES];
  release();
  const int m = (int)g.v[0], n = (int)g.v[1], tiles = (int)((g.v[2] + 63) / 64), each = (tiles + SPLITS - 1) / SPLITS;
  const int begin = blockIdx.z * each, count = max(0, min(each, tiles - begin)), n0 = blockIdx.x * COLUMNS, batch = blockIdx.y;
  const int thread = threadIdx.x, lane = thread & 31;
  const u32 base = shared_address(memory), full = shared_address(barriers), empty = full + 8 * STAGES;
  if (thread == 0) {
    for (int i = 0; i < STAGES; i++) { barrier_start(full + 8 * i, 1); barrier_start(empty + 8 * i, 4); }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  await();
  auto fetch = [&](int t) {
    const u32 stage = t % STAGES, barrier = full + 8 * stage, to = base + stage * STAGE;
    const int k0 = (begin + t) * 64;
    barrier_expect(barrier, STAGE);
#ifdef ACROSS
    bring(to, &wmap, barrier, n0, k0, batch, 0);
#else
    bring(to, &wmap, barrier, k0, n0, batch, 0);
#endif
    bring(to + WTILE, &xmap, barrier, k0, 0, batch, 0);
  };
  float acc[M / 2];
#pragma unroll
  for (int i = 0; i < M / 2; i++) acc[i] = 0.f;
  if (thread >= 128) {
    if (lane == 0) {
      for (int t = 0; t < count; t++) {
        barrier_wait(empty + 8 * (t % STAGES), (t / STAGES & 1) ^ 1);
        fetch(t);
      }
    }
    __syncwarp();
  } else {
    for (int t = 0; t < count; t++) {
      const u32 stage = t % STAGES, at = base + stage * STAGE;
      barrier_wait(full + 8 * stage, t / STAGES & 1);
      product_fence();
      const u64 a = describe(at, PARTS), b = describe(at + WTILE, 16);
#pragma unroll
      for (int k = 0; k < 4; k++) multiply(acc, a + k * STEP, b + k * 2);
      product_commit();
      // The products of the tile before have read it.
      product_wait<1>();
      if (lane == 0 && t > 0) barrier_arrive(empty + 8 * ((t - 1) % STAGES));
    }
    product_wait<0>();
  }
  __syncthreads();
  // Lane l holds columns l / 4 and l / 4 + 8 of its warp's 16, and for every eight rows of x rows 2 (l % 4) and the next one.
  float* sums = (float*)memory;
  if (thread < 128) {
    const int column = thread / 32 * 16 + lane / 4;
#pragma unroll
    for (int j = 0; j < M / 8; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) sums[(j * 8 + lane % 4 * 2 + e % 2) * APART + column + e / 2 * 8] = acc[4 * j + e];
  }
  cluster_barrier();
  const int flags = (int)g.v[7];
  const float by = (float)by_, besides = (float)besides_;
  out += batch * g.v[3];
  beside += batch * g.v[5];
  for (int i = blockIdx.z * THREADS + thread; i < m * (COLUMNS / 4); i += SPLITS * THREADS) {
    const int r = i / (COLUMNS / 4), c = i % (COLUMNS / 4) * 4, left = n - n0 - c;
    if (left <= 0) continue;
    float part[SPLITS][4], v[4];
    const u32 at = base + (r * APART + c) * 4;
#pragma unroll
    for (int p = 0; p < SPLITS; p++) floats_of(p, at, part[p]);
    O* to = out + r * g.v[4] + n0 + c;
    const O* with = beside + (flags & 2 ? r * g.v[6] : 0) + n0 + c;
    Pack<O, 4> more, result;
#pragma unroll
    for (int e = 0; e < 4; e++) {
      v[e] = part[0][e];
#pragma unroll
      for (int p = 1; p < SPLITS; p++) v[e] += part[p][e];
      v[e] *= by;
    }
    if (flags & 4) {
      if (flags & 3) {
        more = *(const Pack<O, 4>*)with;
#pragma unroll
        for (int e = 0; e < 4; e++) v[e] = fmaf(besides, widen(more.v[e]), v[e]);
      }
#pragma unroll
      for (int e = 0; e < 4; e++) result.v[e] = convert<O>(v[e]);
      *(Pack<O, 4>*)to = result;
    } else {
#pragma unroll
      for (int e = 0; e < 4; e++)
        if (e < left) to[e] = convert<O>(flags & 3 ? fmaf(besides, widen(with[e]), v[e]) : v[e]);
    }
  }
  // Nobody's memory goes while others read it.
  cluster_barrier();
}
