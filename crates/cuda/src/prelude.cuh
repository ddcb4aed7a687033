// What every kernel of the backend may use: element types without NVIDIA's headers, conversions that
// agree with the processor's, the functions of the op table (prefix op_), and reductions over lanes.
// Nothing here is a kernel.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef float f32;
typedef double f64;

#define INFINITY_F __int_as_float(0x7f800000)
#define NAN_F __int_as_float(0x7fffffff)
#define INFINITY_D __longlong_as_double(0x7ff0000000000000ll)
#define NAN_D __longlong_as_double(0x7fffffffffffffffll)

// ---- order of kernels ----
// Programmatic dependent launch: a kernel that is launched so begins while the one before it still runs. It
// must await() before it touches memory that a kernel writes; release() lets the next one begin.
__forceinline__ void release() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__forceinline__ void await() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
#define OVERLAPS release(); await();

// ---- half types: storage only; arithmetic is in float ----
struct alignas(2) f16 { u16 bits; };
struct alignas(2) bf16 { u16 bits; };
struct alignas(8) c64 {
  float re, im;
  __forceinline__ c64() = default;
  __forceinline__ c64(float r) : re(r), im(0.f) {}
  __forceinline__ c64(float r, float i) : re(r), im(i) {}
};

__forceinline__ float widen(f16 x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits)); return y; }
__forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
template <class T> __forceinline__ T widen(T x) { return x; }

template <class T> struct Compute { typedef T type; };
template <> struct Compute<f16> { typedef float type; };
template <> struct Compute<bf16> { typedef float type; };

// ---- conversions: integers wrap, floats truncate to 64 bits with saturation and then wrap, NaN is 0,
// non-zero is true ----
template <class To, class From> struct Convert {
  static __forceinline__ To of(From x) { return (To)x; }
};
template <class From> struct Convert<bool, From> { static __forceinline__ bool of(From x) { return x != From(0); } };
// Integers take the low bits of the saturated 64-bit integer; u64 has its own where x is positive.
template <class To> struct FromFloat { static __forceinline__ To of(double x); };
template <> struct FromFloat<i64> {
  static __forceinline__ i64 of(double x) {
    return x != x ? 0 : x >= 9223372036854775808. ? 0x7fffffffffffffffll
         : x <= -9223372036854775808. ? (i64)0x8000000000000000ull : (i64)x;
  }
};
template <> struct FromFloat<u64> {
  static __forceinline__ u64 of(double x) {
    return x < 0. ? (u64)FromFloat<i64>::of(x) : !(x > 0.) ? 0 : x >= 18446744073709551616. ? 0xffffffffffffffffull : (u64)x;
  }
};
template <class To> __forceinline__ To FromFloat<To>::of(double x) { return (To)FromFloat<i64>::of(x); }
#define FROM_FLOAT(To) \
  template <> struct Convert<To, float> { static __forceinline__ To of(float x) { return FromFloat<To>::of(x); } }; \
  template <> struct Convert<To, double> { static __forceinline__ To of(double x) { return FromFloat<To>::of(x); } }; \
  template <> struct Convert<To, c64> { static __forceinline__ To of(c64 x) { return FromFloat<To>::of(x.re); } };
FROM_FLOAT(i8) FROM_FLOAT(i16) FROM_FLOAT(i32) FROM_FLOAT(i64) FROM_FLOAT(u8) FROM_FLOAT(u16) FROM_FLOAT(u32) FROM_FLOAT(u64)
template <> struct Convert<bool, c64> { static __forceinline__ bool of(c64 x) { return x.re != 0.f || x.im != 0.f; } };
template <> struct Convert<float, c64> { static __forceinline__ float of(c64 x) { return x.re; } };
template <> struct Convert<double, c64> { static __forceinline__ double of(c64 x) { return x.re; } };
template <class From> struct Convert<c64, From> { static __forceinline__ c64 of(From x) { return c64((float)x, 0.f); } };
template <> struct Convert<c64, c64> { static __forceinline__ c64 of(c64 x) { return x; } };

template <class From> struct Convert<f16, From> {
  static __forceinline__ f16 of(From x) {
    f16 y; float v = Convert<float, From>::of(x);
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(v)); return y;
  }
};
template <> struct Convert<f16, double> {
  static __forceinline__ f16 of(double x) { f16 y; asm("cvt.rn.f16.f64 %0, %1;" : "=h"(y.bits) : "d"(x)); return y; }
};
template <class From> struct Convert<bf16, From> {
  static __forceinline__ bf16 of(From x) {
    bf16 y; float v = Convert<float, From>::of(x);
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(v)); return y;
  }
};
template <> struct Convert<bf16, double> {
  // Rounding to odd on the way through float keeps the one rounding of the double.
  static __forceinline__ bf16 of(double x) {
    float t = __double2float_rz(x);
    if ((double)t != x && x == x) t = __uint_as_float(__float_as_uint(t) | 1u);
    return Convert<bf16, float>::of(t);
  }
};
template <> struct Convert<f16, f16> { static __forceinline__ f16 of(f16 x) { return x; } };
template <> struct Convert<bf16, bf16> { static __forceinline__ bf16 of(bf16 x) { return x; } };

template <class To, class From> __forceinline__ To convert(From x) { return Convert<To, From>::of(x); }

// ---- vectors of elements, moved by accesses of up to 16 bytes ----
template <class T, int V> struct alignas(sizeof(T) * V > 16 ? 16 : sizeof(T) * V) Pack { T v[V]; };

// A store of what is not read soon: it makes room in the caches first.
template <class P> __forceinline__ void store_once(P* at, const P& x) {
  if constexpr (sizeof(P) == 16) {
    union { P p; u32 w[4]; } a; a.p = x;
    asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" :: "l"(at), "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]) : "memory");
  } else {
    *at = x;
  }
}

// ---- complex arithmetic ----
__forceinline__ c64 operator+(c64 a, c64 b) { return c64(a.re + b.re, a.im + b.im); }
__forceinline__ c64 operator-(c64 a, c64 b) { return c64(a.re - b.re, a.im - b.im); }
__forceinline__ c64 operator-(c64 a) { return c64(-a.re, -a.im); }
__forceinline__ c64 operator*(c64 a, c64 b) { return c64(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re); }
__forceinline__ c64 operator/(c64 a, c64 b) {
  double d = (double)b.re * b.re + (double)b.im * b.im;
  return c64((float)(((double)a.re * b.re + (double)a.im * b.im) / d), (float)(((double)a.im * b.re - (double)a.re * b.im) / d));
}
__forceinline__ bool operator==(c64 a, c64 b) { return a.re == b.re && a.im == b.im; }
__forceinline__ bool operator!=(c64 a, c64 b) { return !(a == b); }
// Lexicographic order, as NumPy has it.
__forceinline__ bool operator<(c64 a, c64 b) { return a.re < b.re || (a.re == b.re && a.im < b.im); }
__forceinline__ bool operator>(c64 a, c64 b) { return b < a; }
__forceinline__ bool operator<=(c64 a, c64 b) { return a.re < b.re || (a.re == b.re && a.im <= b.im); }
__forceinline__ bool operator>=(c64 a, c64 b) { return b <= a; }

// ---- unary functions ----
#define UNARY(name, f, d) \
  __forceinline__ float op_##name(float x) { return f(x); } \
  __forceinline__ double op_##name(double x) { return d(x); }
UNARY(acos, acosf, acos) UNARY(acosh, acoshf, acosh) UNARY(asin, asinf, asin) UNARY(asinh, asinhf, asinh)
UNARY(atan, atanf, atan) UNARY(atanh, atanhf, atanh) UNARY(cos, cosf, cos) UNARY(cosh, coshf, cosh)
UNARY(erf, erff, erf) UNARY(erfinv, erfinvf, erfinv) UNARY(exp, expf, exp) UNARY(expm1, expm1f, expm1)
UNARY(log, logf, log) UNARY(log10, log10f, log10) UNARY(log1p, log1pf, log1p) UNARY(log2, log2f, log2)
UNARY(sin, sinf, sin) UNARY(sinh, sinhf, sinh) UNARY(sqrt, sqrtf, sqrt)
UNARY(tan, tanf, tan) UNARY(tanh, tanhf, tanh)
// An exponential that is right to 2^-17 of its value, for results of 16 bits.
template <class T> __forceinline__ T near_exp(T x) { return op_exp(x); }
__forceinline__ float near_exp(float x) {
  float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f)); return y;
}
__forceinline__ float op_rsqrt(float x) { return 1.f / sqrtf(x); }
__forceinline__ double op_rsqrt(double x) { return 1. / sqrt(x); }
__forceinline__ float op_ceil(float x) { return ceilf(x); }
__forceinline__ double op_ceil(double x) { return ceil(x); }
template <class T> __forceinline__ T op_ceil(T x) { return x; }
__forceinline__ float op_floor(float x) { return floorf(x); }
__forceinline__ double op_floor(double x) { return floor(x); }
template <class T> __forceinline__ T op_floor(T x) { return x; }
__forceinline__ float op_rint(float x) { return rintf(x); }
__forceinline__ double op_rint(double x) { return rint(x); }
template <class T> __forceinline__ T op_rint(T x) { return x; }
__forceinline__ float op_abs(float x) { return fabsf(x); }
__forceinline__ double op_abs(double x) { return fabs(x); }
__forceinline__ float op_abs(c64 x) { return hypotf(x.re, x.im); }
template <class T> __forceinline__ T op_abs(T x) { return x < T(0) ? T(-x) : x; }
__forceinline__ float op_sign(float x) { return x > 0.f ? 1.f : x < 0.f ? -1.f : x == 0.f ? 0.f : x; }
__forceinline__ double op_sign(double x) { return x > 0. ? 1. : x < 0. ? -1. : x == 0. ? 0. : x; }
template <class T> __forceinline__ T op_sign(T x) { return x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0); }
__forceinline__ c64 op_sign(c64 x) {
  float m = hypotf(x.re, x.im); return m == 0.f ? c64(0.f, 0.f) : c64(x.re / m, x.im / m);
}
__forceinline__ float op_sigmoid(float x) {
  float e = expf(-fabsf(x)), s = 1.f / (1.f + e); return x < 0.f ? e * s : s;
}
__forceinline__ double op_sigmoid(double x) {
  double e = exp(-fabs(x)), s = 1. / (1. + e); return x < 0. ? e * s : s;
}
__forceinline__ float op_real(c64 x) { return x.re; }
__forceinline__ float op_imag(c64 x) { return x.im; }
__forceinline__ c64 op_conj(c64 x) { return c64(x.re, -x.im); }
template <class T> __forceinline__ T op_conj(T x) { return x; }
__forceinline__ c64 op_complex64(float x, float y) { return c64(x, y); }

// Complex functions are computed in double, so that the parts round once.
struct c128 { double re, im; };
__forceinline__ c128 wide(c64 x) { return {x.re, x.im}; }
__forceinline__ c64 narrow(c128 x) { return c64((float)x.re, (float)x.im); }
__forceinline__ c128 operator+(c128 a, c128 b) { return {a.re + b.re, a.im + b.im}; }
__forceinline__ c128 operator-(c128 a, c128 b) { return {a.re - b.re, a.im - b.im}; }
__forceinline__ c128 operator*(c128 a, c128 b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
__forceinline__ c128 operator/(c128 a, c128 b) {
  double d = b.re * b.re + b.im * b.im;
  return {(a.re * b.re + a.im * b.im) / d, (a.im * b.re - a.re * b.im) / d};
}
__forceinline__ c128 wexp(c128 x) {
  double m = exp(x.re); if (x.im == 0.) return {m, x.im}; return {m * cos(x.im), m * sin(x.im)};
}
__forceinline__ c128 wlog(c128 x) { return {log(hypot(x.re, x.im)), atan2(x.im, x.re)}; }
__forceinline__ c128 wsqrt(c128 x) {
  double m = hypot(x.re, x.im);
  if (m == 0.) return {0., x.im};
  double a = sqrt((m + fabs(x.re)) * 0.5), b = fabs(x.im) / (2. * a);
  return x.re >= 0. ? c128{a, copysign(b, x.im)} : c128{b, copysign(a, x.im)};
}
// Kahan, "Branch cuts for complex elementary functions", 1987.
__forceinline__ c128 wacos(c128 z) {
  c128 a = wsqrt({1. - z.re, -z.im}), b = wsqrt({1. + z.re, z.im});
  return {2. * atan2(a.re, b.re), asinh(b.re * a.im - b.im * a.re)};
}
__forceinline__ c128 wacosh(c128 z) {
  c128 a = wsqrt({z.re - 1., z.im}), b = wsqrt({z.re + 1., z.im});
  return {asinh(a.re * b.re + a.im * b.im), 2. * atan2(a.im, b.re)};
}
__forceinline__ c128 wasin(c128 z) {
  c128 a = wsqrt({1. - z.re, -z.im}), b = wsqrt({1. + z.re, z.im});
  return {atan2(z.re, a.re * b.re - a.im * b.im), asinh(a.re * b.im - a.im * b.re)};
}
__forceinline__ c128 wasinh(c128 z) { c128 w = wasin({z.im, -z.re}); return {-w.im, w.re}; }
__forceinline__ c128 watanh(c128 z) {
  double y2 = z.im * z.im, p = 1. + z.re, q = 1. - z.re;
  return {0.25 * log1p(4. * z.re / (q * q + y2)), 0.5 * atan2(2. * z.im, p * q - y2)};
}
__forceinline__ c128 watan(c128 z) { c128 w = watanh({-z.im, z.re}); return {w.im, -w.re}; }
__forceinline__ c128 wcosh(c128 z) { return {cosh(z.re) * cos(z.im), sinh(z.re) * sin(z.im)}; }
__forceinline__ c128 wsinh(c128 z) { return {sinh(z.re) * cos(z.im), cosh(z.re) * sin(z.im)}; }
__forceinline__ c128 wcos(c128 z) { return {cos(z.re) * cosh(z.im), -sin(z.re) * sinh(z.im)}; }
__forceinline__ c128 wsin(c128 z) { return {sin(z.re) * cosh(z.im), cos(z.re) * sinh(z.im)}; }
__forceinline__ c128 wtanh(c128 z) {
  if (fabs(z.re) > 20.) return {copysign(1., z.re), copysign(0., sin(2. * z.im))};
  double d = cosh(2. * z.re) + cos(2. * z.im); return {sinh(2. * z.re) / d, sin(2. * z.im) / d};
}
__forceinline__ c128 wtan(c128 z) { c128 w = wtanh({-z.im, z.re}); return {w.im, -w.re}; }
__forceinline__ c128 wexpm1(c128 z) {
  double s = sin(0.5 * z.im), e = expm1(z.re), c = cos(z.im);
  return {e * c - 2. * s * s, (e + 1.) * sin(z.im)};
}
__forceinline__ c128 wlog1p(c128 z) {
  double a = 1. + z.re; return {0.5 * log1p(z.re * (2. + z.re) + z.im * z.im), atan2(z.im, a)};
}
__forceinline__ c128 wscale(c128 z, double k) { return {z.re * k, z.im * k}; }
#define COMPLEX(name, body) __forceinline__ c64 op_##name(c64 y) { c128 z = wide(y); return narrow(body); }
COMPLEX(acos, wacos(z)) COMPLEX(acosh, wacosh(z)) COMPLEX(asin, wasin(z)) COMPLEX(asinh, wasinh(z))
COMPLEX(atan, watan(z)) COMPLEX(atanh, watanh(z)) COMPLEX(cos, wcos(z)) COMPLEX(cosh, wcosh(z))
COMPLEX(exp, wexp(z)) COMPLEX(expm1, wexpm1(z)) COMPLEX(log, wlog(z)) COMPLEX(log1p, wlog1p(z))
COMPLEX(log10, wscale(wlog(z), 0.43429448190325182765)) COMPLEX(log2, wscale(wlog(z), 1.4426950408889634074))
COMPLEX(sin, wsin(z)) COMPLEX(sinh, wsinh(z)) COMPLEX(sqrt, wsqrt(z)) COMPLEX(tan, wtan(z)) COMPLEX(tanh, wtanh(z))
COMPLEX(rsqrt, (c128{1., 0.} / wsqrt(z)))
COMPLEX(sigmoid, (c128{1., 0.} / (c128{1., 0.} + wexp({-z.re, -z.im}))))

// ---- binary functions ----
__forceinline__ float op_atan2(float x, float y) { return atan2f(x, y); }
__forceinline__ double op_atan2(double x, double y) { return atan2(x, y); }
__forceinline__ float op_maximum(float x, float y) { float z; asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y)); return z; }
__forceinline__ double op_maximum(double x, double y) { return x != x ? x : y != y ? y : x > y ? x : y; }
__forceinline__ c64 op_maximum(c64 x, c64 y) { return x != x ? x : y != y ? y : x > y ? x : y; }
template <class T> __forceinline__ T op_maximum(T x, T y) { return x > y ? x : y; }
__forceinline__ float op_minimum(float x, float y) { float z; asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y)); return z; }
__forceinline__ double op_minimum(double x, double y) { return x != x ? x : y != y ? y : x < y ? x : y; }
__forceinline__ c64 op_minimum(c64 x, c64 y) { return x != x ? x : y != y ? y : x < y ? x : y; }
template <class T> __forceinline__ T op_minimum(T x, T y) { return x < y ? x : y; }
template <class T> struct Signed { static constexpr bool value = T(-1) < T(0); };

__forceinline__ float op_remainder(float x, float y) {
  float r = fmodf(x, y); if (r == 0.f) return copysignf(0.f, y);
  return (r < 0.f) != (y < 0.f) ? r + y : r;
}
__forceinline__ double op_remainder(double x, double y) {
  double r = fmod(x, y); if (r == 0.) return copysign(0., y);
  return (r < 0.) != (y < 0.) ? r + y : r;
}
template <class T> __forceinline__ T op_remainder(T x, T y) {
  if (y == T(0)) return T(0);
  if (Signed<T>::value && y == T(-1)) return T(0);
  T r = x % y; return Signed<T>::value && r != T(0) && ((r < T(0)) != (y < T(0))) ? T(r + y) : r;
}
__forceinline__ float op_floor_divide(float x, float y) { return floorf(x / y); }
__forceinline__ double op_floor_divide(double x, double y) { return floor(x / y); }
// Of complex numbers each part by itself, as on the processor.
__forceinline__ c64 op_floor_divide(c64 x, c64 y) { return c64(floorf(x.re / y.re), floorf(x.im / y.im)); }
__forceinline__ c64 op_remainder(c64 x, c64 y) { return c64(op_remainder(x.re, y.re), op_remainder(x.im, y.im)); }
template <class T> __forceinline__ T op_floor_divide(T x, T y) {
  if (y == T(0)) return T(0);
  if (Signed<T>::value && y == T(-1)) return T(T(0) - x);
  T q = x / y; return Signed<T>::value && x % y != T(0) && ((x < T(0)) != (y < T(0))) ? T(q - 1) : q;
}
__forceinline__ float op_power(float x, float y) { return powf(x, y); }
__forceinline__ double op_power(double x, double y) { return pow(x, y); }
__forceinline__ c64 op_power(c64 x, c64 y) {
  if (y.re == 0.f && y.im == 0.f) return c64(1.f, 0.f);
  if (x.re == 0.f && x.im == 0.f) return c64(0.f, 0.f);
  return narrow(wexp(wide(y) * wlog(wide(x))));
}
template <class T> __forceinline__ T op_power(T x, T y) {
  if (Signed<T>::value && y < T(0)) return x == T(1) ? T(1) : x == T(-1) ? (y & T(1) ? T(-1) : T(1)) : T(0);
  T r = T(1);
  while (y != T(0)) { if (y & T(1)) r = T(r * x); x = T(x * x); y = T(y >> 1); }
  return r;
}
template <class T> __forceinline__ T op_shift_left(T x, T y) {
  return y < T(0) || (u64)y >= sizeof(T) * 8 ? T(0) : T((u64)x << (u64)y);
}
template <class T> __forceinline__ T op_shift_right(T x, T y) {
  return y < T(0) || (u64)y >= sizeof(T) * 8 ? (x < T(0) ? T(-1) : T(0)) : T(x >> y);
}
__forceinline__ float op_logaddexp(float x, float y) {
  if (x != x || y != y) return NAN_F;
  float hi = fmaxf(x, y), lo = fminf(x, y);
  return lo == -INFINITY_F || hi == INFINITY_F ? hi : hi + log1pf(expf(lo - hi));
}
__forceinline__ double op_logaddexp(double x, double y) {
  if (x != x || y != y) return NAN_D;
  double hi = fmax(x, y), lo = fmin(x, y);
  return lo == -INFINITY_D || hi == INFINITY_D ? hi : hi + log1p(exp(lo - hi));
}
__forceinline__ c64 op_logaddexp(c64 x, c64 y) {
  c64 hi = x.re > y.re ? x : y, lo = x.re > y.re ? y : x;
  if (hi.re == -INFINITY_F) return hi;
  return narrow(wide(hi) + wlog1p(wexp(wide(lo) - wide(hi))));
}

// ---- neutral elements of the reductions and scans ----
template <class T> struct Extreme {
  static __forceinline__ T lowest() {
    return Signed<T>::value ? T((u64)1 << (sizeof(T) * 8 - 1)) : T(0);
  }
  static __forceinline__ T highest() { return T(~lowest()); }
};
template <> struct Extreme<bool> {
  static __forceinline__ bool lowest() { return false; }
  static __forceinline__ bool highest() { return true; }
};
template <> struct Extreme<float> {
  static __forceinline__ float lowest() { return -INFINITY_F; }
  static __forceinline__ float highest() { return INFINITY_F; }
};
template <> struct Extreme<double> {
  static __forceinline__ double lowest() { return -INFINITY_D; }
  static __forceinline__ double highest() { return INFINITY_D; }
};
template <> struct Extreme<c64> {
  static __forceinline__ c64 lowest() { return c64(-INFINITY_F, -INFINITY_F); }
  static __forceinline__ c64 highest() { return c64(INFINITY_F, INFINITY_F); }
};

#define REDUCER(Name, start_, join_) \
  template <class T> struct Name { \
    static __forceinline__ T start() { return start_; } \
    static __forceinline__ T join(T x, T y) { return join_; } \
  };
REDUCER(Sum, T(0), T(x + y)) REDUCER(Prod, T(1), T(x * y)) REDUCER(All, T(1), T(x && y)) REDUCER(Any, T(0), T(x || y))
REDUCER(Min, Extreme<T>::highest(), op_minimum(x, y)) REDUCER(Max, Extreme<T>::lowest(), op_maximum(x, y))
REDUCER(LogAddExp, Extreme<T>::lowest(), op_logaddexp(x, y))

// ---- the lanes of a warp and of a block ----
template <class T> __forceinline__ T shuffle_xor(T x, int mask) {
  union { T t; u32 w[(sizeof(T) + 3) / 4]; } a; a.w[0] = 0; a.t = x;
  for (int i = 0; i < (int)((sizeof(T) + 3) / 4); i++) a.w[i] = __shfl_xor_sync(0xffffffffu, a.w[i], mask);
  return a.t;
}
template <class T> __forceinline__ T shuffle_up(T x, int delta) {
  union { T t; u32 w[(sizeof(T) + 3) / 4]; } a; a.w[0] = 0; a.t = x;
  for (int i = 0; i < (int)((sizeof(T) + 3) / 4); i++) a.w[i] = __shfl_up_sync(0xffffffffu, a.w[i], delta);
  return a.t;
}
// The join over all lanes of a warp, on every lane.
template <class R, class T> __forceinline__ T warp_join(T x) {
  for (int m = 16; m > 0; m >>= 1) x = R::join(x, shuffle_xor(x, m));
  return x;
}
// The join over all threads of a one-dimensional block of whole warps, on every thread.
template <class R, class T> __forceinline__ T block_join(T x) {
  __shared__ T parts[32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  x = warp_join<R>(x);
  __syncthreads();
  if (lane == 0) parts[warp] = x;
  __syncthreads();
  x = lane < warps ? parts[lane] : R::start();
  return warp_join<R>(x);
}
#if __CUDA_ARCH__ >= 900
__forceinline__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}
__forceinline__ u32 cluster_rank() { u32 r; asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
// The join over all threads of a cluster of C blocks of at most 16 warps, on every thread. Each call of a
// kernel has a number K and memory of its own, into which all blocks write; a barrier of the cluster must
// come before the first one, so that all blocks run.
template <class R, int C, int K, class T> __forceinline__ T cluster_join(T x) {
  union Slot { T t; u32 w[(sizeof(T) + 3) / 4]; };
  __shared__ Slot slots[C * 16];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  Slot own;
  own.t = warp_join<R>(x);
  if (lane < C) {
    u32 at = (u32)__cvta_generic_to_shared(&slots[cluster_rank() * warps + warp]), there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(at), "r"(lane));
#pragma unroll
    for (int i = 0; i < (int)(sizeof(T) + 3) / 4; i++)
      asm volatile("st.shared::cluster.u32 [%0], %1;" :: "r"(there + 4 * i), "r"(own.w[i]) : "memory");
  }
  cluster_barrier();
  T sum = R::start();
  for (int i = lane; i < C * warps; i += 32) sum = R::join(sum, slots[i].t);
  return warp_join<R>(sum);
}
#endif
// The join over threadIdx.y, for blocks of 32 columns; on every thread.
template <class R, class T> __forceinline__ T column_join(T x) {
  __shared__ T parts[32][33];
  __syncthreads();
  parts[threadIdx.y][threadIdx.x] = x;
  __syncthreads();
  x = parts[0][threadIdx.x];
  for (int y = 1; y < (int)blockDim.y; y++) x = R::join(x, parts[y][threadIdx.x]);
  return x;
}
// The same for N values of each thread, of blocks of at most 16 rows: threadIdx.y shares the work.
template <int N> __forceinline__ u64* column_memory() { __shared__ u64 memory[N * 16 * 33]; return memory; }
template <class R, int N, class T> __forceinline__ void columns_join(T (&a)[N]) {
  static_assert(sizeof(T) <= 8, "a value has eight bytes at most");
  u64* memory = column_memory<N>();
  auto at = [&](int e, int y) -> T& { return *(T*)(memory + (e * 16 + y) * 33 + threadIdx.x); };
  __syncthreads();
#pragma unroll
  for (int e = 0; e < N; e++) at(e, threadIdx.y) = a[e];
  __syncthreads();
  for (int e = threadIdx.y; e < N; e += blockDim.y) {
    T x = at(e, 0);
    for (int y = 1; y < (int)blockDim.y; y++) x = R::join(x, at(e, y));
    at(e, 0) = x;
  }
  __syncthreads();
#pragma unroll
  for (int e = 0; e < N; e++) a[e] = at(e, 0);
}

// True iff every quotient by y is the product with inverse(y), bit for bit: powers of two whose inverse is normal.
__forceinline__ bool has_inverse(float y) {
  const u32 w = __float_as_uint(y);
  return (w & 0x007fffffu) == 0 && w >= 0x00800000u && w <= 0x7e800000u;
}
__forceinline__ float inverse(float y) { return __uint_as_float(0x7f000000u - __float_as_uint(y)); }

// ---- random words ----
// Threefry-2x32, 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): both halves
// of the hash of the counters (a, b).
// Sums are products with one, which the compiler does not see: products run beside the shifts, on
// other units (1.2 times as fast, H100).
__forceinline__ u32 plus(u32 a, u32 b) {
  u32 r;
  asm("mad.lo.u32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(blockDim.z), "r"(b));
  return r;
}
__forceinline__ void threefry(u32 k0, u32 k1, u32& a, u32& b) {
  const u32 k[3] = {k0, k1, k0 ^ k1 ^ 0x1BD11BDAu};
  const int turns[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  a = plus(a, k[0]); b = plus(b, k[1]);
#pragma unroll
  for (int round = 0; round < 5; round++) {
#pragma unroll
    for (int j = 0; j < 4; j++) { a = plus(a, b); b = __funnelshift_l(b, b, turns[round % 2][j]) ^ a; }
    a = plus(a, k[(round + 1) % 3]); b = plus(b, k[(round + 2) % 3] + round + 1);
  }
}

// ---- bad data ----
// Reports an index out of range; the host reads the record when it next waits for the stream.
__forceinline__ void report(u64* fault, int op, i64 index, i64 axis, i64 size) {
  if (atomicCAS(fault, 0ull, (u64)op + 1) == 0) {
    volatile i64* record = (volatile i64*)fault;
    record[1] = index; record[2] = axis; record[3] = size;
    __threadfence_system();
  }
}
