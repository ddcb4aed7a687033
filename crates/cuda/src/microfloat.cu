// Packing w in groups of GROUP elements as small floats with a scale, as the processor does it, bit for bit: MODE 1,
// mxfp4, and 2, nvfp4, have E2M1 elements, 3, mxfp8, has E4M3; scales are powers of two (E8M0), the least that makes
// no element too large, and for nvfp4 the greatest magnitude / 6 as E4M3. Elements are w / scale, rounded to
// the nearest, ties to the lower magnitude for E2M1 and to even for E4M3, which saturates.
// A thread packs 8 elements; those of a group are neighbours in a warp.
#define BITS (MODE == 3 ? 8 : 4)

// Of a magnitude; for numbers up to 448 the three bits behind the first one are kept.
__forceinline__ u32 to_e4m3(float x) {
  if (x != x) return 0x7e;
  const u32 sign = __float_as_uint(x) >> 24 & 0x80;
  const float a = fabsf(x);
  if (a >= 448.f) return sign | 0x7e;
  // Below 2^-6 codes are multiples of 2^-9.
  if (a < 0.015625f) return sign | (u32)rintf(a * 512.f);
  const u32 bits = __float_as_uint(a);
  return sign | (((bits + 0x7ffff + (bits >> 20 & 1)) >> 20) - (120 << 3));
}

__forceinline__ float from_e4m3(u32 code) {
  const int exponent = code >> 3 & 15;
  const float fraction = (float)(code & 7);
  return exponent == 0 ? fraction / 512.f : (1.f + fraction / 8.f) * __uint_as_float((u32)(exponent + 120) << 23);
}

// The first of the nearest, from code 0 on: infinities and NaN are as far from all.
__forceinline__ u32 to_e2m1(float x) {
  const float magnitudes[8] = {0.f, 0.5f, 1.f, 1.5f, 2.f, 3.f, 4.f, 6.f};
  u32 best = 0;
  float least = fabsf(x);
#pragma unroll
  for (u32 code = 1; code < 16; code++) {
    const float value = code < 8 ? magnitudes[code & 7] : -magnitudes[code & 7], distance = fabsf(value - x);
    if (distance < least) { least = distance; best = code; }
  }
  return best;
}

extern "C" __global__ void __launch_bounds__(256) pack_floats(const T* w, u32* words, u8* scales, i64 count) {
  OVERLAPS
  const i64 unit = (i64)blockIdx.x * 256 + threadIdx.x, first = unit * 8;
  constexpr int SHARERS = GROUP / 8;
  const Pack<T, 8> all = first < count ? *(const Pack<T, 8>*)(w + first) : Pack<T, 8>();
  float x[8], most = 0.f;
#pragma unroll
  for (int e = 0; e < 8; e++) {
    x[e] = widen(all.v[e]);
    most = fmaxf(most, fabsf(x[e]));
  }
#pragma unroll
  for (int step = 1; step < SHARERS; step *= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
  if (first >= count) return;
  u32 code;
  float scale;
  if (MODE == 2) {
    code = to_e4m3(most / 6.f);
    scale = from_e4m3(code);
  } else {
    // The logarithm rounds as the processor's does; the quotient is rounded before.
    const float exponent = ceilf((float)log2((double)(most / (MODE == 3 ? 448.f : 6.f))));
    code = (u32)((exponent != exponent ? 0 : (int)fminf(fmaxf(exponent, -127.f), 127.f)) + 127);
    scale = code == 0 ? __uint_as_float(0x00400000) : __uint_as_float(code << 23);
  }
  if (unit % SHARERS == 0) scales[unit / SHARERS] = (u8)code;
  u32 packed[BITS / 4];
#pragma unroll
  for (int i = 0; i < BITS / 4; i++) {
    packed[i] = 0;
#pragma unroll
    for (int e = 0; e < 32 / BITS; e++) {
      const float v = scale == 0.f ? 0.f : x[i * (32 / BITS) + e] / scale;
      packed[i] |= (MODE == 3 ? to_e4m3(v) : to_e2m1(v)) << (e * BITS);
    }
    words[unit * (BITS / 4) + i] = packed[i];
  }
}
