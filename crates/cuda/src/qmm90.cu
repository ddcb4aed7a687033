// out (m, n) = x (m, k) w^T as warpgroup products of compute capability 9.0, w (n, k) quantised affinely in 4 bits:
// scale * q + bias, rounded to T as the written-out matrix would be. T is a 16-bit type, k a multiple of 64.
//
// The product is computed as w x^T: a block is one warpgroup, which owns 64 rows of w, whose elements it unpacks in
// registers, and M (32 to 128) rows of x, which lie in shared memory with the swizzle of 128 bytes. Tiles of 64 elements
// of k pass through STAGES buffers. k is cut among the SPLITS blocks of a cluster, which add their sums in order,
// each for its part of the tile. Many small blocks hide each other's waits: two warpgroups that share x take 1.3 of
// the time for 64 rows, on an H100.
#define ROWS 64
#define THREADS 128
#define STAGES 4
#define XTILE (M * 128)
#define STAGE (XTILE + ROWS * 32)
// Floats from the sums of one row of x to those of the next.
#define APART (ROWS + 4)

// x (64, M) += a b^T for 16 elements of k: a in registers, b (M, k) in shared memory.
#define X4(i) "+f"(x[i]), "+f"(x[i + 1]), "+f"(x[i + 2]), "+f"(x[i + 3])
#define X16(i) X4(i), X4(i + 4), X4(i + 8), X4(i + 12)
#define PRODUCT(n, list, A0, A1, A2, A3, AT, ...) \
  asm volatile("{\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32." KIND "." KIND " " list \
               ", {%" A0 ",%" A1 ",%" A2 ",%" A3 "}, %" AT ", 1, 1, 1, 0;\n}" \
               : __VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(at))
#define LIST16 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}"
__forceinline__ void product_registers(float* x, const u32* a, u64 at) {
#if M == 32
  PRODUCT("32", LIST16, "16", "17", "18", "19", "20", X16(0));
#elif M == 64
  PRODUCT("64", LIST32, "32", "33", "34", "35", "36", X16(0), X16(16));
#else
  PRODUCT("128", LIST64, "64", "65", "66", "67", "68", X16(0), X16(16), X16(32), X16(48));
#endif
}

extern "C" __global__ void __cluster_dims__(1, 1, SPLITS) __launch_bounds__(THREADS) qmm90(const T* x, const u32* w, const T* scales,
    const T* biases, T* out, i64 m_, i64 n_, i64 k_) {
  OVERLAPS
  extern __shared__ __align__(1024) u8 memory[];
  const int m = (int)m_, n = (int)n_, k = (int)k_, thread = threadIdx.x, lane = thread & 31;
  const int n0 = blockIdx.x * ROWS, m0 = blockIdx.y * M, tiles = k / 64, each = (tiles + SPLITS - 1) / SPLITS;
  const int begin = blockIdx.z * each, count = min(each, tiles - begin);
  const u32 base = shared_address(memory);
  auto fetch = [&](int i) {
    const u32 to = base + i % STAGES * STAGE;
    const int k0 = (begin + i) * 64;
#pragma unroll
    for (int j = thread; j < M * 8; j += THREADS) {
      const int r = j / 8, c = j % 8;
      const bool ok = m0 + r < m;
      copy_16(to + r * 128 + (c ^ r % 8) * 16, x + (ok ? (i64)(m0 + r) * k + k0 + c * 8 : 0), ok);
    }
    const int r = thread / 2, c = thread % 2;
    const bool ok = n0 + r < n;
    copy_16(to + XTILE + r * 32 + (c ^ (r / 4 & 1)) * 16, w + (ok ? (i64)(n0 + r) * (k / 8) + k0 / 8 + c * 4 : 0), ok);
  };
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++) { if (i < count) fetch(i); commit_copies(); }
  // The lane's two rows of w within the block, and the byte of eight elements that it unpacks.
  const int row = thread / 32 * 16 + lane / 4, pick = lane % 4 | 0x4440;
  const T *scale_at[2], *bias_at[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const i64 at = (i64)min(n0 + row + 8 * h, n - 1) * (k / GROUP);
    scale_at[h] = scales + at; bias_at[h] = biases + at;
  }
  float acc[M / 2];
#pragma unroll
  for (int i = 0; i < M / 2; i++) acc[i] = 0.f;
  for (int t = 0; t < count; t++) {
    wait_copies<STAGES - 2>();
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    // After it, all have multiplied the tile before this one, and its buffer is free.
    __syncthreads();
    if (t + STAGES - 1 < count) fetch(t + STAGES - 1);
    commit_copies();
    const u32 from = t % STAGES * STAGE;
    u32 a[4][4];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      u32 words[8], scale, bias;
#pragma unroll
      for (int c = 0; c < 2; c++)
        *(Pack<u32, 4>*)&words[4 * c] = *(const Pack<u32, 4>*)(memory + from + XTILE + (row + 8 * h) * 32 + (c ^ (row / 4 & 1)) * 16);
#pragma unroll
      for (int i = 0; i < 8; i++) {
        if (i % (GROUP < 64 ? GROUP / 8 : 8) == 0) {
          const int group = ((begin + t) * 64 + i * 8) / GROUP;
          scale = scale_at[h][group].bits * 0x10001u; bias = bias_at[h][group].bits * 0x10001u;
        }
        // The two elements of a byte, 16 bits apart, as the low bits of 128 (or 1024).
        const u32 q = (__byte_perm(words[i], 0, pick) * 0x1001u & 0x000f000fu) | Pairs<T>::magic;
        a[i / 2][h + i % 2 * 2] = Pairs<T>::fma(Pairs<T>::fma(q, Pairs<T>::one, Pairs<T>::minus), scale, bias);
      }
    }
    product_fence();
#pragma unroll
    for (int s = 0; s < 4; s++) product_registers(acc, a[s], describe(base + from + s * 32, 16));
    product_commit();
    product_wait<0>();
  }
  wait_copies<0>();
  __syncthreads();
  // Lane l holds rows l / 4 and l / 4 + 8 of w, and for every eight rows of x rows 2 (l % 4) and the next one.
  float* sums = (float*)memory;
#pragma unroll
  for (int j = 0; j < M / 8; j++)
#pragma unroll
    for (int e = 0; e < 4; e++) sums[(j * 8 + lane % 4 * 2 + e % 2) * APART + row + e / 2 * 8] = acc[4 * j + e];
  cluster_barrier();
  for (int i = blockIdx.z * THREADS + thread; i < M * ROWS / 4; i += SPLITS * THREADS) {
    const int r = i / (ROWS / 4), c = i % (ROWS / 4) * 4;
    float part[SPLITS][4], sum[4];
    const u32 at = base + (r * APART + c) * 4;
#pragma unroll
    for (int p = 0; p < SPLITS; p++) floats_of(p, at, part[p]);
#pragma unroll
    for (int e = 0; e < 4; e++) {
      sum[e] = part[0][e];
#pragma unroll
      for (int p = 1; p < SPLITS; p++) sum[e] += part[p][e];
    }
    if (m0 + r >= m) continue;
    T* to = out + (i64)(m0 + r) * n + n0 + c;
    if (n % 4 == 0) {
      if (n0 + c < n) { ((u32*)to)[0] = Unit<T>::pair(sum[0], sum[1]); ((u32*)to)[1] = Unit<T>::pair(sum[2], sum[3]); }
    } else {
#pragma unroll
      for (int e = 0; e < 4; e++) if (n0 + c + e < n) to[e] = convert<T>(sum[e]);
    }
  }
  // Nobody's memory goes while others read it.
  cluster_barrier();
}
