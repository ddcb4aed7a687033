// out (m, n) = x (m, k) w^T on the matrix units, w (n, k) quantised affinely in 4 or 8 BITS: scale * q + bias,
// rounded to T as the written-out matrix would be. T is a 16-bit type, k a multiple of 64.
//
// A block of 8 warps owns BM rows of x and BN rows of w, and a part of k; tiles of 64 elements of k pass
// through STAGES buffers. Within a tile a lane holds 16 neighbouring elements of a row of w (two or four
// words) and the same of x: the sum over k may take any order, as long as both sides take the same.
// Where k is cut into `splits`, the sums go to `parts` (split, m, n), and the last block of a tile to
// arrive adds them in order; `counters`, one for each tile, are zero before and after.
#if BM == 64
#define BN 64
#else
#define BN 128
#endif
#define STAGES 4
#define MOST_SPLITS 8
#define XROW 72
#define WORDS (BITS * 2)
#if BM >= 64
#define WARPS_M 2
#else
#define WARPS_M 1
#endif
#define WARPS_N (8 / WARPS_M)
#define MT (BM / WARPS_M / 16)
#define NT (BN / WARPS_N / 8)
#define STAGE (BM * XROW * 2 + BN * WORDS * 4)

// The two words of b for step `step` of a tile, from the lane's words of a row.
__forceinline__ void weights(const u32* words, int step, T scale, T bias, u32* b) {
#if BITS == 4
  // Elements i and i + 4 of a word lie 16 bits apart. As the low bits of 128 (or 1024) they are a number.
  u32 word = words[step / 2] >> (step % 2 * 8), s = scale.bits * 0x10001u, o = bias.bits * 0x10001u;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    u32 q = ((word >> (4 * i)) & 0x000f000fu) | Pairs<T>::magic;
    b[i] = Pairs<T>::fma(Pairs<T>::fma(q, Pairs<T>::one, Pairs<T>::minus), s, o);
  }
#else
  float s = widen(scale), o = widen(bias);
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float lo = __uint_as_float(__byte_perm(words[step], 0x4B000000u, 0x7650 + 2 * i)) - 8388608.f;
    float hi = __uint_as_float(__byte_perm(words[step], 0x4B000000u, 0x7651 + 2 * i)) - 8388608.f;
    b[i] = Unit<T>::pair(fmaf(s, lo, o), fmaf(s, hi, o));
  }
#endif
}
// The lane's words of x for one row and step: the elements that `weights` pairs.
__forceinline__ void inputs(const u32* x, int step, u32* a) {
#if BITS == 4
  const u32* half = x + step / 2 * 4 + step % 2;
  a[0] = __byte_perm(half[0], half[2], 0x5410); a[1] = __byte_perm(half[0], half[2], 0x7632);
#else
  a[0] = x[2 * step]; a[1] = x[2 * step + 1];
#endif
}

extern "C" __global__ void __launch_bounds__(256, BM > 64 ? 1 : 2) qmm(const T* x, const u32* w, const T* scales, const T* biases, T* out,
    float* parts, u32* counters, i64 m_, i64 n_, i64 k_, i64 splits) {
  extern __shared__ __align__(128) u8 memory[];
  __shared__ u32 arrived;
  const int m = (int)m_, n = (int)n_, k = (int)k_, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int m0 = blockIdx.y * BM, n0 = blockIdx.x * BN, wm = warp / WARPS_N, wn = warp % WARPS_N;
  const int tiles = k / 64, each = (int)((tiles + splits - 1) / splits), begin = blockIdx.z * each;
  const int count = min(each, tiles - begin);
  const u32 base = shared_address(memory);
  auto fetch = [&](int i) {
    u32 to = base + i % STAGES * STAGE;
    const int k0 = (begin + i) * 64;
#pragma unroll
    for (int j = threadIdx.x; j < BM * 8; j += 256) {
      int r = j / 8, c = j % 8 * 8;
      bool ok = m0 + r < m;
      copy_16(to + (r * XROW + c) * 2, x + (ok ? (i64)(m0 + r) * k + k0 + c : 0), ok);
    }
    to += BM * XROW * 2;
#pragma unroll
    for (int j = threadIdx.x; j < BN * WORDS / 4; j += 256) {
      int r = j / (WORDS / 4), c = j % (WORDS / 4) * 4;
      bool ok = n0 + r < n;
      copy_16(to + (r * WORDS + c) * 4, w + (ok ? (i64)(n0 + r) * (k / 32 * BITS) + k0 / 32 * BITS + c : 0), ok);
    }
  };
  // Scales and biases of the lane's rows of w for the tile to come.
  const T* places[NT];
  const i64 to_bias = biases - scales;
#pragma unroll
  for (int j = 0; j < NT; j++) {
    int r = n0 + wn * (NT * 8) + j * 8 + lane / 4;
    places[j] = scales + (i64)(r < n ? r : n - 1) * (k / GROUP);
  }
  T scale[NT], bias[NT];
  auto factors = [&](int i) {
#pragma unroll
    for (int j = 0; j < NT; j++) {
      const T* p = places[j] + ((begin + i) * 64 + lane % 4 * 16) / GROUP;
      scale[j] = p[0]; bias[j] = p[to_bias];
    }
  };
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++) { if (i < count) fetch(i); commit_copies(); }
  if (count > 0) factors(0);
  float acc[MT][NT][4];
#pragma unroll
  for (int i = 0; i < MT; i++)
#pragma unroll
    for (int j = 0; j < NT; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) acc[i][j][e] = 0.f;
  for (int t = 0; t < count; t++) {
    wait_copies<STAGES - 2>();
    __syncthreads();
    if (t + STAGES - 1 < count) fetch(t + STAGES - 1);
    commit_copies();
    const u8* tile = memory + t % STAGES * STAGE;
    u32 words[NT][WORDS / 4];
    T s[NT], o[NT];
#pragma unroll
    for (int j = 0; j < NT; j++) {
      const u8* from = tile + BM * XROW * 2 + (wn * (NT * 8) + j * 8 + lane / 4) * (WORDS * 4) + lane % 4 * WORDS;
      *(Pack<u32, WORDS / 4>*)words[j] = *(const Pack<u32, WORDS / 4>*)from;
      s[j] = scale[j]; o[j] = bias[j];
    }
    if (t + 1 < count) factors(t + 1);
    u32 xs[MT][2][8];
#pragma unroll
    for (int i = 0; i < MT; i++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const u8* from = tile + ((wm * (MT * 16) + i * 16 + lane / 4 + 8 * r) * XROW + lane % 4 * 16) * 2;
        *(Pack<u32, 4>*)&xs[i][r][0] = *(const Pack<u32, 4>*)from;
        *(Pack<u32, 4>*)&xs[i][r][4] = *(const Pack<u32, 4>*)(from + 16);
      }
#pragma unroll
    for (int step = 0; step < 4; step++) {
      u32 b[NT][2];
#pragma unroll
      for (int j = 0; j < NT; j++) weights(words[j], step, s[j], o[j], b[j]);
#pragma unroll
      for (int i = 0; i < MT; i++) {
        u32 upper[2], lower[2];
        inputs(xs[i][0], step, upper);
        inputs(xs[i][1], step, lower);
        const u32 a[4] = {upper[0], lower[0], upper[1], lower[1]};
#pragma unroll
        for (int j = 0; j < NT; j++) Unit<T>::mma(acc[i][j], a, b[j][0], b[j][1]);
      }
    }
  }
  // Lane l holds columns 2 (l % 4) and the next one of rows l / 4 and l / 4 + 8.
#pragma unroll
  for (int i = 0; i < MT; i++)
#pragma unroll
    for (int j = 0; j < NT; j++)
#pragma unroll
      for (int e = 0; e < 4; e += 2) {
        int r = m0 + wm * (MT * 16) + i * 16 + lane / 4 + e * 4, c = n0 + wn * (NT * 8) + j * 8 + lane % 4 * 2;
        if (r >= m || c >= n) continue;
        float* part = parts + ((i64)blockIdx.z * m + r) * n + c;
        T* to = out + (i64)r * n + c;
        if (n % 2 == 0) {
          if (splits == 1) *(u32*)to = Unit<T>::pair(acc[i][j][e], acc[i][j][e + 1]);
          else *(float2*)part = make_float2(acc[i][j][e], acc[i][j][e + 1]);
        } else {
          if (splits == 1) to[0] = convert<T>(acc[i][j][e]); else part[0] = acc[i][j][e];
          if (c + 1 < n) { if (splits == 1) to[1] = convert<T>(acc[i][j][e + 1]); else part[1] = acc[i][j][e + 1]; }
        }
      }
  if (splits == 1) return;
  __threadfence();
  __syncthreads();
  u32* counter = counters + blockIdx.y * gridDim.x + blockIdx.x;
  if (threadIdx.x == 0) arrived = atomicAdd(counter, 1u);
  __syncthreads();
  if (arrived + 1 != splits) return;
  __threadfence();
  if (threadIdx.x == 0) *counter = 0;
  const i64 apart = (i64)m * n;
  if (n % 4 == 0) {
#pragma unroll 2
    for (int i = threadIdx.x; i < BM * BN / 4; i += 256) {
      int r = m0 + i / (BN / 4), c = n0 + i % (BN / 4) * 4;
      if (r >= m || c >= n) continue;
      const float* part = parts + (i64)r * n + c;
      float4 x[MOST_SPLITS];
#pragma unroll
      for (int p = 0; p < MOST_SPLITS; p++) if (p < (int)splits) x[p] = __ldcg((const float4*)(part + p * apart));
      float4 sum = x[0];
#pragma unroll
      for (int p = 1; p < MOST_SPLITS; p++)
        if (p < (int)splits) { sum.x += x[p].x; sum.y += x[p].y; sum.z += x[p].z; sum.w += x[p].w; }
      u32* to = (u32*)(out + (i64)r * n + c);
      to[0] = Unit<T>::pair(sum.x, sum.y); to[1] = Unit<T>::pair(sum.z, sum.w);
    }
    return;
  }
  for (int i = threadIdx.x; i < BM * BN; i += 256) {
    int r = m0 + i / BN, c = n0 + i % BN;
    if (r >= m || c >= n) continue;
    float sum = 0.f;
    for (int p = 0; p < (int)splits; p++) sum += __ldcg(parts + p * apart + (i64)r * n + c);
    out[(i64)r * n + c] = convert<T>(sum);
  }
}
