// Group-wise quantised matrices. w (rows, k) lies as rows of a little-endian bit stream in 32-bit words,
// scales and biases as (rows, k / GROUP). T is the type of x and results, SCALE that of scales and biases,
// BITS and GROUP the format, MODE 0 affine, 1 mxfp4, 2 nvfp4, 3 mxfp8 (scales are then bytes).
struct G { i64 v[16]; };
#if MODE == 0
typedef SCALE S;
#else
typedef u8 S;
#endif

// E4M3 and E2M1 and E8M0 numbers (Open Compute Project, "Microscaling formats", 2023).
__forceinline__ float e4m3(u32 b) {
  u32 e = (b >> 3) & 15, m = b & 7;
  float x = e == 15 && m == 7 ? NAN_F : e == 0 ? (float)m * 0.001953125f : __uint_as_float(((e + 120) << 23) | (m << 20));
  return b & 128 ? -x : x;
}
__forceinline__ float e2m1(u32 b) {
  u32 e = (b >> 1) & 3, m = b & 1;
  float x = e == 0 ? 0.5f * (float)m : __uint_as_float(((e + 126) << 23) | (m << 22));
  return b & 8 ? -x : x;
}
__forceinline__ float e8m0(u32 b) {
  return b == 255 ? NAN_F : b == 0 ? __uint_as_float(0x00400000u) : __uint_as_float(b << 23);
}
__forceinline__ float scale_of(S s) {
#if MODE == 0
  return widen(s);
#elif MODE == 2
  return e4m3(s);
#else
  return e8m0(s);
#endif
}
__forceinline__ float value_of(u32 q) {
#if MODE == 0
  // Conversions are slow; below 2^23 the bits of a float do it.
  return __uint_as_float(0x4B000000u | q) - 8388608.f;
#elif MODE == 3
  return e4m3(q);
#else
  return e2m1(q);
#endif
}
// Eight neighbouring elements are BITS bytes.
#if BITS == 8
typedef u64 Eight;
#elif BITS == 4
typedef u32 Eight;
#elif BITS == 2
typedef u16 Eight;
#else
struct Eight { u8 v[BITS]; };
#endif
__forceinline__ u64 bits_of(Eight e) {
#if BITS == 3 || BITS == 5 || BITS == 6
  u64 x = 0;
#pragma unroll
  for (int i = 0; i < BITS; i++) x |= (u64)e.v[i] << (8 * i);
  return x;
#else
  return e;
#endif
}
__forceinline__ float eighth(Eight e, int j) { return value_of((u32)(bits_of(e) >> (j * BITS)) & ((1u << BITS) - 1)); }

#ifdef DEQUANTIZE
// out (rows, k) = scale * q + bias; one thread for every eight elements. O is the type of the result. n and
// k count eights.
extern "C" __global__ void dequantize(const Eight* w, const S* scales, const S* biases, O* out, i64 n, i64 k) {
  OVERLAPS
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  i64 row = i / k, j = i - row * k, group = row * (k * 8 / GROUP) + j * 8 / GROUP;
  const Eight e = w[i];
  const float scale = scale_of(scales[group]);
#if MODE == 0
  const float bias = widen(biases[group]);
#else
  const float bias = 0.f;
#endif
  Pack<O, 8> r;
#pragma unroll
  for (int j = 0; j < 8; j++) r.v[j] = convert<O>(scale * eighth(e, j) + bias);
  *(Pack<O, 8>*)(out + i * 8) = r;
}
#endif

#if defined(DOTS) || defined(QMV)
// Eights of a row of weights that a lane has under way together.
#ifdef DOTS
constexpr int TURN = M * R == 1 ? 6 : M * R == 2 ? 4 : M * R <= 4 ? 2 : 1;
#else
constexpr int TURN = M * R <= 4 ? 2 : 1;
#endif
struct Turn { Eight e[TURN][R]; S scale[TURN][R], bias[TURN][R]; };
// The lane's part of rows `row` to `row + R` of w (n, k) from column 8 base on; rows past the end are the last.
__forceinline__ void load(Turn& turn, const Eight* w, const S* scales, const S* biases, i64 row, i64 n, i64 k,
                          int base, int lane) {
  const int eights = (int)(k / 8), left = eights - base - lane;
#pragma unroll
  for (int r = 0; r < R; r++) {
    const i64 at = row + r < n ? row + r : n - 1, group = at * (k / GROUP) + (base + lane) * 8 / GROUP;
    const Eight* from = w + (at * eights + base + lane);
    const S *scale = scales + group, *bias = biases + group;
#pragma unroll
    for (int u = 0; u < TURN; u++) {
      const bool live = 32 * u < left;
      turn.e[u][r] = Eight(); turn.scale[u][r] = S(); turn.bias[u][r] = S();
      if (live) turn.e[u][r] = from[32 * u];
      if (live) turn.scale[u][r] = scale[256 / GROUP * u];
#if MODE == 0
      if (live) turn.bias[u][r] = bias[256 / GROUP * u];
#endif
    }
  }
}
#if MODE == 0 && BITS == 4
#define NIBBLES
// sum(x q) of eight elements, given the sums of x at even and at odd places. Two elements of q at a time become the
// first bits of numbers from 1 to 2, 1 + q / 256 and 1 + q / 16, for a shift and two other operations; half of what
// a conversion of each takes. What this adds to the sums is taken off before.
__forceinline__ float sixteenths(const Pack<T, 8>& x, u32 q, float even, float odd) {
  even = -even; odd = -odd;
#pragma unroll
  for (int j = 0; j < 8; j += 2) {
    const u32 two = j < 4 ? q << (15 - 4 * j) : q >> (4 * j - 15);
    float low, high;
    asm("lop3.b32 %0, %1, 0x00078000, %2, 0xEA;" : "=f"(low) : "r"(two), "r"(0x3f800000u));
    asm("lop3.b32 %0, %1, 0x00780000, %2, 0xEA;" : "=f"(high) : "r"(two), "r"(0x3f800000u));
    even = fmaf(widen(x.v[j]), low, even);
    odd = fmaf(widen(x.v[j + 1]), high, odd);
  }
  return fmaf(256.f, even, 16.f * odd);
}
#endif
// sums[r][i] = row i of x (m, k), m <= M, times row `row + r` of w (n, k), on every lane of the warp that
// calls; `turn` holds the beginning of w's rows. A lane takes eight neighbouring elements at a time, so that
// weights and x are read in whole lines, and each row of x meets R rows of weights in registers. sum(x) of
// the eight carries the bias: s * sum(x q) + b * sum(x).
__forceinline__ void dots(const T* x, Turn& turn, const Eight* w, const S* scales, const S* biases, i64 row,
                          i64 n, i64 m, i64 k, int lane, float (&sums)[R][M]) {
  const int eights = (int)(k / 8);
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int i = 0; i < M; i++) sums[r][i] = 0.f;
  for (int base = 0;;) {
#pragma unroll
    for (int u = 0; u < TURN; u++) {
#ifndef AHEAD
      // The same for all lanes. The elements of x after it are not asked for before, which takes half the registers.
      if (base + 32 * u >= eights) break;
#endif
      const bool live = base + 32 * u + lane < eights;
      const T* from = x + (live ? base + 32 * u + lane : 0) * 8;
#pragma unroll
      for (int i = 0; i < M; i++) {
        if (i < m) {
          const Pack<T, 8> p = *(const Pack<T, 8>*)(from + i * k);
          float sum = 0.f;
#ifdef NIBBLES
          float even = 0.f, odd = 0.f;
#pragma unroll
          for (int j = 0; j < 8; j += 2) { even += widen(p.v[j]); odd += widen(p.v[j + 1]); }
          sum = even + odd;
#elif MODE == 0
#pragma unroll
          for (int j = 0; j < 8; j++) sum += widen(p.v[j]);
#endif
#pragma unroll
          for (int r = 0; r < R; r++) {
#ifdef NIBBLES
            float dot = sixteenths(p, turn.e[u][r], even, odd);
#else
            float dot = 0.f;
#pragma unroll
            for (int j = 0; j < 8; j++) dot = fmaf(widen(p.v[j]), eighth(turn.e[u][r], j), dot);
#endif
#if MODE == 0
            dot = fmaf(scale_of(turn.scale[u][r]), dot, widen(turn.bias[u][r]) * sum);
#else
            dot *= scale_of(turn.scale[u][r]);
#endif
            sums[r][i] += live ? dot : 0.f;
          }
        }
      }
    }
    base += 32 * TURN;
    if (base >= eights) break;
    load(turn, w, scales, biases, row, n, k, base, lane);
  }
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int i = 0; i < M; i++) sums[r][i] = warp_join<Sum<float>>(sums[r][i]);
}
#endif

#ifdef QMV
// out (m, n) = x (m, k) w^T, w (n, k), m <= M, for the entries of a grouped product: a warp for every R rows of
// w. Entry blockIdx.y multiplies block lhs of x (blocks, m, k) by matrix rhs; rows come M at a time.
extern "C" __global__ void __launch_bounds__(256) qmv(const T* x, const Eight* w, const S* scales,
                                                      const S* biases, T* out, i64 m, i64 n, i64 k,
                                                      const i64* lhs, const i64* rhs, i64 blocks, i64 matrices,
                                                      u64* fault, i64 op) {
  const i64 entry = blockIdx.y, first = (i64)blockIdx.z * M;
  i64 a = lhs[entry], b = rhs[entry];
  const i64 left = a, right = b;
  if (a < 0) a += blocks;
  if (b < 0) b += matrices;
  if (a < 0 || a >= blocks) { report(fault, (int)op, left, 0, blocks); return; }
  if (b < 0 || b >= matrices) { report(fault, (int)op, right, 0, matrices); return; }
  x += (a * m + first) * k;
  out += (entry * m + first) * n;
  m -= first;
  const i64 row = ((i64)blockIdx.x * 8 + (threadIdx.x >> 5)) * R;
  if (row >= n) return;
  const int lane = threadIdx.x & 31;
  float sums[R][M];
  Turn turn;
  w += b * n * (k / 8);
  scales += b * n * (k / GROUP);
  biases += b * n * (k / GROUP);
  load(turn, w, scales, biases, row, n, k, 0, lane);
  dots(x, turn, w, scales, biases, row, n, m, k, lane, sums);
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int i = 0; i < M; i++)
      if (lane == 0 && i < m && row + r < n) out[i * n + row + r] = convert<T>(sums[r][i]);
}
#endif
