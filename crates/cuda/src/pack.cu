// Packing rows w (rows, k) in groups of GROUP elements with BITS bits, as the processor does it, bit for bit:
// with s = max((max - min) / (2^BITS - 1), 1e-7), negated where |min| <= |max|, and q0 = round(edge / s) of the end
// `edge` of larger magnitude, scale edge / q0 and bias edge (s and 0 where q0 is 0); q = round((w - bias) / scale).
// A warp packs GROUP elements, or two groups of 16, whose words may be shared: 32 BITS bits are whole words.
#define UNIT (GROUP < 32 ? 32 : GROUP)
extern "C" __global__ void __launch_bounds__(256) pack(const T* w, u32* words, T* scales, T* biases, i64 rows, i64 k) {
  OVERLAPS
  constexpr int EACH = UNIT / 32, WORDS = UNIT * BITS / 32, SPAN = GROUP < 32 ? GROUP : 32;
  __shared__ u32 packed[8][WORDS + 1];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const i64 units = (k + UNIT - 1) / UNIT, unit = (i64)blockIdx.x * 8 + warp, row = unit / units;
  if (row >= rows) return;
  const i64 first = (unit - row * units) * UNIT;
  const float levels = (float)((1u << BITS) - 1);
  float x[EACH], low = INFINITY_F, high = -INFINITY_F;
#pragma unroll
  for (int e = 0; e < EACH; e++) {
    const i64 j = first + e * 32 + lane;
    x[e] = j < k ? widen(w[row * k + j]) : 0.f;
    low = fminf(low, x[e]); high = fmaxf(high, x[e]);
  }
#pragma unroll
  for (int step = 1; step < SPAN; step *= 2) {
    low = fminf(low, __shfl_xor_sync(0xffffffffu, low, step));
    high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, step));
  }
  const float width = fmaxf((high - low) / levels, 1e-7f);
  const bool negative = fabsf(low) > fabsf(high);
  float scale = negative ? width : -width, bias = 0.f;
  const float edge = negative ? low : high, q0 = rintf(edge / scale);
  if (q0 != 0.f) { scale = edge / q0; bias = edge; }
  if (lane % SPAN == 0 && first + lane < k) {
    const i64 group = (row * k + first + lane) / GROUP;
    scales[group] = convert<T>(scale);
    biases[group] = convert<T>(bias);
  }
  for (int i = lane; i <= WORDS; i += 32) packed[warp][i] = 0;
  __syncwarp();
#pragma unroll
  for (int e = 0; e < EACH; e++) {
    const int at = (e * 32 + lane) * BITS;
    const u64 q = (u64)(u32)fminf(fmaxf(rintf((x[e] - bias) / scale), 0.f), levels) << (at % 32);
    if (first + e * 32 + lane < k) {
      atomicOr(&packed[warp][at / 32], (u32)q);
      if (at % 32 + BITS > 32) atomicOr(&packed[warp][at / 32 + 1], (u32)(q >> 32));
    }
  }
  __syncwarp();
  const i64 left = (k - first) * BITS / 32;
  for (int i = lane; i < WORDS && i < left; i += 32) words[row * (k * BITS / 32) + first * BITS / 32 + i] = packed[warp][i];
}
