// Group-wise quantised matrices. w (rows, k) lies as rows of a little-endian bit stream in 32-bit words,
// scales and biases as (rows, k / GROUP). T is the type of x, scales and results, BITS and GROUP the
// format, MODE 0 affine, 1 mxfp4, 2 nvfp4, 3 mxfp8 (scales are then bytes).
struct G { i64 v[16]; };
#if MODE == 0
typedef T S;
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
  return (float)q;
#elif MODE == 3
  return e4m3(q);
#else
  return e2m1(q);
#endif
}
// Element j of a row of words.
__forceinline__ u32 element(const u32* row, i64 j) {
  i64 bit = j * BITS; i64 word = bit >> 5; int shift = (int)(bit & 31);
  u32 lo = row[word] >> shift;
#if BITS == 3 || BITS == 5 || BITS == 6
  if (shift + BITS > 32) lo |= row[word + 1] << (32 - shift);
#endif
  return lo & ((1u << BITS) - 1);
}

#ifdef DEQUANTIZE
// out (rows, k) = scale * q + bias; one thread for each element. O is the type of the result.
extern "C" __global__ void dequantize(const u32* w, const S* scales, const T* biases, O* out, i64 n, i64 k) {
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  i64 row = i / k, j = i - row * k, group = row * (k / GROUP) + j / GROUP;
  float x = scale_of(scales[group]) * value_of(element(w + row * (k * BITS / 32), j));
#if MODE == 0
  x = x + widen(biases[group]);
#endif
  out[i] = convert<O>(x);
}
#endif

#ifdef QMV
// out (m, n) = x (m, k) w^T, w (n, k), m <= M: one warp for each row of w. A lane takes 32 elements of
// the row at a time (BITS words, in one group), so that weights are read once, in whole words, and each
// row of x meets them in registers. sum(x) of the 32 elements carries the bias: s * sum(x q) + b * sum(x).
extern "C" __global__ void __launch_bounds__(256) qmv(const T* x, const u32* w, const S* scales,
                                                      const T* biases, T* out, i64 m, i64 n, i64 k) {
  i64 row = (i64)blockIdx.x * 8 + (threadIdx.x >> 5);
  if (row >= n) return;
  int lane = threadIdx.x & 31;
  const u32* weights = w + row * (k / 32 * BITS);
  float sums[M];
#pragma unroll
  for (int i = 0; i < M; i++) sums[i] = 0.f;
  for (i64 c = lane; c < k / 32; c += 32) {
    u32 words[BITS + 1];
#pragma unroll
    for (int b = 0; b < BITS; b++) words[b] = weights[c * BITS + b];
    words[BITS] = 0;
    i64 group = row * (k / GROUP) + c * 32 / GROUP;
    float scale = scale_of(scales[group]), bias = 0.f;
#if GROUP == 16
    float second = scale_of(scales[group + 1]), bias2 = 0.f;
#endif
#if MODE == 0
    bias = widen(biases[group]);
#if GROUP == 16
    bias2 = widen(biases[group + 1]);
#endif
#endif
#pragma unroll
    for (int i = 0; i < M; i++) {
      if (i < m) {
        const T* xs = x + i * k + c * 32;
        float dot[2] = {0.f, 0.f}, sum[2] = {0.f, 0.f};
#pragma unroll
        for (int h = 0; h < 32; h += 8) {
          Pack<T, 8> p = *(const Pack<T, 8>*)(xs + h);
#pragma unroll
          for (int e = 0; e < 8; e++) {
            const int at = (h + e) * BITS, word = at / 32, shift = at % 32;
            u32 q = words[word] >> shift;
            if (shift + BITS > 32) q |= words[word + 1] << (32 - shift);
            float v = widen(p.v[e]);
            dot[h / 16] += v * value_of(q & ((1u << BITS) - 1)); sum[h / 16] += v;
          }
        }
#if GROUP == 16
        sums[i] += scale * dot[0] + bias * sum[0] + second * dot[1] + bias2 * sum[1];
#else
        sums[i] += scale * (dot[0] + dot[1]) + bias * (sum[0] + sum[1]);
#endif
      }
    }
  }
#pragma unroll
  for (int i = 0; i < M; i++) {
    float sum = warp_join<Sum<float>>(sums[i]);
    if (lane == 0 && i < m) out[i * n + row] = convert<T>(sum);
  }
}
#endif
