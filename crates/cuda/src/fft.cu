// Frequencies x (..., m, inner) to y: times `factor`; with m > 0 they are those of real signals of n elements, of
// which the ones that stand for two, 0 < k < (n + 1) / 2, are multiplied by `paired` as well, and the others
// lose what such a signal cannot have, their imaginary part. With m = 0 every element is alike. x may be y.
// A thread owns an element.
extern "C" __global__ void __launch_bounds__(256) weigh(const c64* x, c64* y, i64 count, i64 m, i64 inner, i64 n, double factor,
                                                        double paired) {
  OVERLAPS
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= count) return;
  c64 v = x[i];
  float by = (float)factor;
  if (m > 0) {
    const i64 k = i / inner % m;
    if (k == 0 || 2 * k == n) v.im = 0.f;
    else by *= (float)paired;
  }
  y[i] = c64(v.re * by, v.im * by);
}

#ifdef N
// Transforms along the middle axis of x (before, N, behind), N a power of two from 64 to 2048, by steps of four (Stockham's
// order as in Govindaraju et al., "High performance discrete Fourier transforms on graphics processors", SC 2008),
// times `factor`; the exponent has the sign of `sign`. A block owns all N elements of W neighbouring signals, a thread
// 16 of them; between steps they pass through shared memory.
#define W (8192 / N)
// With 64 registers for a thread, which two blocks leave, sm_80 spills.
#define BLOCKS (__CUDA_ARCH__ >= 900 ? 2 : 1)
__forceinline__ c64 turned(c64 x, float sign) { return c64(-sign * x.im, sign * x.re); }

extern "C" __global__ void __launch_bounds__(512, BLOCKS) columns(const c64* x, c64* y, i64 behind64, i64 tiles, double factor,
                                                          double sign64) {
  OVERLAPS
  extern __shared__ __align__(16) unsigned char memory[];
  c64* data = (c64*)memory;   // (N, W)
  c64* turns = data + N * W;  // exp(2 pi i sign k / N)
  const float sign = (float)sign64, by = (float)factor;
  const i64 first = blockIdx.x % tiles * W, base = blockIdx.x / tiles * N * behind64 + first;
  const int behind = (int)behind64, left = (int)min(behind64 - first, (i64)W);
  x += base; y += base;
  for (int k = threadIdx.x; k < N; k += 512) {
    float s, c;
    sincospif(2.f * k / N, &s, &c);
    turns[k] = c64(c, sign * s);
  }
  c64 v[16];
#pragma unroll
  for (int b = 0; b < 4; b++) {
    const int t = threadIdx.x + b * 512, w = t % W, j = t / W;
#pragma unroll
    for (int r = 0; r < 4; r++)
      v[b * 4 + r] = w < left ? x[(j + r * (N / 4)) * behind + w] : c64(0.f);
  }
  constexpr int FOURS = N >= 1024 ? 5 : N >= 256 ? 4 : 3, LENGTH = 1 << 2 * FOURS;
  int done = 1;
#pragma unroll
  for (int step = 0; step < FOURS; step++) {
    __syncthreads();
#pragma unroll
    for (int b = 0; b < 4; b++) {
      const int t = threadIdx.x + b * 512, w = t % W, j = t / W, k = j % done;
      c64* u = v + b * 4;
      if (step > 0) {
#pragma unroll
        for (int r = 0; r < 4; r++) u[r] = data[(j + r * (N / 4)) * W + w];
#pragma unroll
        for (int r = 1; r < 4; r++) u[r] = u[r] * turns[r * k * (N / (4 * done))];
      }
      const c64 even = u[0] + u[2], odd = u[0] - u[2], sum = u[1] + u[3], cross = turned(u[1] - u[3], sign);
      u[0] = even + sum; u[1] = odd + cross; u[2] = even - sum; u[3] = odd - cross;
    }
    if (step > 0) __syncthreads();
    const bool last = step == FOURS - 1 && LENGTH == N;
#pragma unroll
    for (int b = 0; b < 4; b++) {
      const int t = threadIdx.x + b * 512, w = t % W, j = t / W, k = j % done, at = (j - k) * 4 + k;
#pragma unroll
      for (int r = 0; r < 4; r++) {
        const c64 u = v[b * 4 + r];
        if (!last) data[(at + r * done) * W + w] = u;
        else if (w < left) y[(at + r * done) * behind + w] = c64(u.re * by, u.im * by);
      }
    }
    done *= 4;
  }
  if (LENGTH == N) return;
  // What is left is a step of two.
  __syncthreads();
#pragma unroll
  for (int b = 0; b < 8; b++) {
    const int t = threadIdx.x + b * 512, w = t % W, j = t / W;
    const c64 l = data[j * W + w], r = data[(j + N / 2) * W + w] * turns[j];
    if (w >= left) continue;
    const c64 sum = l + r, difference = l - r;
    y[j * behind + w] = c64(sum.re * by, sum.im * by);
    y[(j + N / 2) * behind + w] = c64(difference.re * by, difference.im * by);
  }
}
#endif
