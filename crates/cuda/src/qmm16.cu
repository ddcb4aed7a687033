// out (m, n) = x (m, k) w^T on the matrix units for few rows of x, w (n, k) quantised affinely in 4 bits: scale * q +
// bias, rounded to T as the written-out matrix would be. T is a 16-bit type, k a multiple of 64, m at most 8 NT.
//
// The product is computed as w x^T: a block owns 16 rows of w, and its warps share k. A lane holds 32 neighbouring
// elements of a row of w (and of x) out of 128: the sum over k may take any order, as long as both sides take
// the same. Nothing passes through shared memory but the warps' sums, which are added in order.
#define WARPS 8
#define TURN (NT == 1 ? 4 : 2)

extern "C" __global__ void __launch_bounds__(32 * WARPS, 2) qmm16(const T* x, const u32* w, const T* scales, const T* biases,
    T* out, i64 m_, i64 n_, i64 k_) {
  OVERLAPS
  __shared__ float sums[WARPS][8 * NT][17];
  const int m = (int)m_, n = (int)n_, k = (int)k_, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int n0 = blockIdx.x * 16, part = lane / 4, place = lane % 4 * 32, tiles = (k + 127) / 128;
  const int each = (tiles + WARPS - 1) / WARPS, end = min(k, (warp + 1) * each * 128);
  const u32* words[2];
  const T *scale_at[2], *bias_at[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const i64 row = min(n0 + part + 8 * h, n - 1);
    words[h] = w + row * (k / 8); scale_at[h] = scales + row * (k / GROUP); bias_at[h] = biases + row * (k / GROUP);
  }
  float acc[NT][4];
#pragma unroll
  for (int i = 0; i < NT; i++)
#pragma unroll
    for (int e = 0; e < 4; e++) acc[i][e] = 0.f;
  for (int first = warp * each * 128 + place; first < end; first += TURN * 128) {
    Pack<u32, 4> q[TURN][2];
    u32 scale[TURN][2], bias[TURN][2];
#pragma unroll
    for (int u = 0; u < TURN; u++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int at = first + u * 128;
        q[u][h] = Pack<u32, 4>(); scale[u][h] = 0; bias[u][h] = 0;
        if (at < end) q[u][h] = *(const Pack<u32, 4>*)(words[h] + at / 8);
        if (at < end) scale[u][h] = scale_at[h][at / GROUP].bits;
        if (at < end) bias[u][h] = bias_at[h][at / GROUP].bits;
      }
#pragma unroll
    for (int u = 0; u < TURN; u++) {
      const int at = first + u * 128;
      Pack<u32, 4> v[NT][4];
#pragma unroll
      for (int i = 0; i < NT; i++)
#pragma unroll
        for (int c = 0; c < 4; c++) {
          v[i][c] = Pack<u32, 4>();
          if (at < end && i * 8 + part < m) v[i][c] = *(const Pack<u32, 4>*)(x + (i64)(i * 8 + part) * k + at + c * 8);
        }
#pragma unroll
      for (int h = 0; h < 2; h++) { scale[u][h] *= 0x10001u; bias[u][h] *= 0x10001u; }
#pragma unroll
      for (int c = 0; c < 4; c++)
#pragma unroll
        for (int step = 0; step < 2; step++) {
          u32 a[4];
#pragma unroll
          for (int e = 0; e < 4; e++) {
            // Elements i and i + 4 of a word lie 16 bits apart. As the low bits of 128 (or 1024) they are a number.
            const u32 two = (q[u][e % 2].v[c] >> (8 * step + e / 2 * 4) & 0x000f000fu) | Pairs<T>::magic;
            a[e] = Pairs<T>::fma(Pairs<T>::fma(two, Pairs<T>::one, Pairs<T>::minus), scale[u][e % 2], bias[u][e % 2]);
          }
#pragma unroll
          for (int i = 0; i < NT; i++) {
            const u32 low = v[i][c].v[step], high = v[i][c].v[step + 2];
            Unit<T>::mma(acc[i], a, __byte_perm(low, high, 0x5410), __byte_perm(low, high, 0x7632));
          }
        }
    }
  }
  // Lane l holds rows l / 4 and l / 4 + 8 of w, and of every eight rows of x rows 2 (l % 4) and the next one.
#pragma unroll
  for (int i = 0; i < NT; i++)
#pragma unroll
    for (int e = 0; e < 4; e++) sums[warp][i * 8 + lane % 4 * 2 + e % 2][part + e / 2 * 8] = acc[i][e];
  __syncthreads();
  const int r = threadIdx.x / 16, c = threadIdx.x % 16;
  if (r >= m || r >= 8 * NT || n0 + c >= n) return;
  float sum = sums[0][r][c];
#pragma unroll
  for (int i = 1; i < WARPS; i++) sum += sums[i][r][c];
  out[(i64)r * n + n0 + c] = convert<T>(sum);
}
