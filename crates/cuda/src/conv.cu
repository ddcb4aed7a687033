// Convolutions as products: row m of the left side is a place (example, t0, t1, t2) of the result, and
// its elements are those that the kernel meets there, tap by tap and channel by channel; the right side is
// the weight (O, K) of a group with K = taps * C. Absent axes have size 1. Tap p of axis a reads the input
// at t * stride + (p or, with flip, its mirror) * kernel dilation - low, which must be a multiple of the
// input's dilation and inside. Define UNITS, JOIN or PATCHES.
// G: rows, channels and outputs of a group, those of all groups, then three each: sizes of input, kernel
// and result, stride, low, kernel dilation, input dilation; then flip, K, steps of a split, groups, first row.
struct G { i64 v[64]; };
#define ROWS g.v[0]
#define DEPTH ((int)g.v[1])
#define OUTPUTS ((int)g.v[2])
#define ALL_CHANNELS g.v[3]
#define ALL_OUTPUTS g.v[4]
#define SIZE(a) ((int)g.v[5 + (a)])
#define KERNEL(a) ((int)g.v[8 + (a)])
#define PLACES(a) ((int)g.v[11 + (a)])
#define STRIDE(a) ((int)g.v[14 + (a)])
#define LOW(a) ((int)g.v[17 + (a)])
#define SPREAD(a) ((int)g.v[20 + (a)])
#define DILATION(a) ((int)g.v[23 + (a)])
#define FLIP g.v[26]
#define INNER ((int)g.v[27])

// Where the taps of a row begin, before any tap's offset, and the input's row of its example.
struct Place { int at[3]; i64 example; };
__forceinline__ Place place_of(i64 row, const G& g) {
  Place p;
#pragma unroll
  for (int a = 2; a >= 0; a--) {
    const i64 next = row / PLACES(a);
    p.at[a] = (int)(row - next * PLACES(a)) * STRIDE(a) - LOW(a);
    row = next;
  }
  p.example = row;
  return p;
}
// The first channel of the input's element at a tap, or -1 outside.
__forceinline__ i64 element(const Place& p, const int* tap, const G& g) {
  i64 at = p.example;
#pragma unroll
  for (int a = 0; a < 3; a++) {
    int i = p.at[a] + (FLIP ? KERNEL(a) - 1 - tap[a] : tap[a]) * SPREAD(a);
#ifdef DILATED
    if (i % DILATION(a) != 0) return -1;
    i /= DILATION(a);
#endif
    if ((u32)i >= (u32)SIZE(a)) return -1;
    at = at * SIZE(a) + i;
  }
  return at * ALL_CHANNELS;
}

#ifdef UNITS
// 16-bit elements, DEPTH a multiple of 8, on the matrix units: a block of 8 warps owns 128 rows and 128 outputs of
// a group, a warp 64 by 32; steps of 32 elements of K pass through STAGES buffers. K may be cut into splits,
// whose sums go to `parts` (split, rows, outputs) for `join_splits`.
#define BM 128
#define BN 128
#define BK 32
#define LINE 40
#define STAGES 4
extern "C" __global__ void __launch_bounds__(256, 2) conv(const T* x, const T* w, T* out, float* parts, G g) {
  extern __shared__ __align__(128) u8 memory[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, wm = warp / 4, wn = warp % 4;
  const int tiles = (OUTPUTS + BN - 1) / BN, group = blockIdx.y / tiles, n0 = blockIdx.y % tiles * BN;
  const i64 m0 = (i64)blockIdx.x * BM;
  const u32 base = shared_address(memory);
  // A thread brings the same 8 elements of K for two rows of each side.
  const int chunk = threadIdx.x % 4 * 8, line = threadIdx.x / 4;
  Place places[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const i64 m = m0 + line + 64 * r;
    places[r] = place_of(m < ROWS ? m : 0, g);
  }
  const int steps = (INNER + BK - 1) / BK, begin = blockIdx.z * (int)g.v[28], count = min((int)g.v[28], steps - begin);
  int inner = begin * BK + chunk, channel = inner % DEPTH, tap[3], rest = inner / DEPTH;
#pragma unroll
  for (int a = 2; a >= 0; a--) { tap[a] = rest % KERNEL(a); rest /= KERNEL(a); }
  const T* from = x + (i64)group * DEPTH;
  const T* weight = w + (i64)group * OUTPUTS * INNER;
  auto fetch = [&](int i) {
    const u32 to = base + i % STAGES * ((BM + BN) * LINE * 2) + (line * LINE + chunk) * 2;
    const bool more = inner < INNER;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const i64 at = more && m0 + line + 64 * r < ROWS ? element(places[r], tap, g) : -1;
      copy_16(to + 64 * r * LINE * 2, from + (at < 0 ? 0 : at + channel), at >= 0);
      const bool ok = more && n0 + line + 64 * r < OUTPUTS;
      copy_16(to + (BM + 64 * r) * LINE * 2, weight + (ok ? (i64)(n0 + line + 64 * r) * INNER + inner : 0), ok);
    }
    inner += BK;
    channel += BK;
    while (channel >= DEPTH) {
      channel -= DEPTH;
      if (++tap[2] == KERNEL(2)) { tap[2] = 0; if (++tap[1] == KERNEL(1)) { tap[1] = 0; tap[0]++; } }
    }
  };
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++) { if (i < count) fetch(i); commit_copies(); }
  float acc[4][4][4];
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) acc[i][j][e] = 0.f;
  const u32 ra = ((wm * 64 + lane % 16) * LINE + lane / 16 * 8) * 2;
  const u32 rb = ((BM + wn * 32 + lane % 8 + lane / 16 * 8) * LINE + lane / 8 % 2 * 8) * 2;
  for (int t = 0; t < count; t++) {
    wait_copies<STAGES - 2>();
    __syncthreads();
    if (t + STAGES - 1 < count) fetch(t + STAGES - 1);
    commit_copies();
    const u32 tile = base + t % STAGES * ((BM + BN) * LINE * 2);
#pragma unroll
    for (int k = 0; k < BK; k += 16) {
      u32 a[4][4], b[2][4];
#pragma unroll
      for (int i = 0; i < 4; i++) load_4(a[i], tile + ra + (i * 16 * LINE + k) * 2);
#pragma unroll
      for (int j = 0; j < 2; j++) load_4(b[j], tile + rb + (j * 16 * LINE + k) * 2);
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) Unit<T>::mma(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const i64 m = m0 + wm * 64 + i * 16 + lane / 4 + e / 2 * 8;
        const int o = n0 + wn * 32 + j * 8 + lane % 4 * 2 + e % 2;
        if (m >= ROWS || o >= OUTPUTS) continue;
        const i64 to = m * ALL_OUTPUTS + (i64)group * OUTPUTS + o;
        if (gridDim.z > 1) parts[(i64)blockIdx.z * ROWS * ALL_OUTPUTS + to] = acc[i][j][e];
        else out[to] = convert<T>(acc[i][j][e]);
      }
}
#endif

#ifdef JOIN
// out (n) = the sum of parts (splits, n), in order.
extern "C" __global__ void __launch_bounds__(256) join_splits(const float* parts, T* out, i64 n, i64 splits) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  float sum = 0.f;
#pragma unroll 4
  for (i64 p = 0; p < splits; p++) sum += parts[p * n + i];
  out[i] = convert<T>(sum);
}
#endif

#ifdef PATCHES
// patches (groups, rows, K): the left sides written out, for g.v[30] rows from g.v[29] on. A thread for each element.
extern "C" __global__ void __launch_bounds__(256) patches(const T* x, T* out, G g) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x, rows = g.v[30], groups = ALL_CHANNELS / DEPTH;
  if (i >= groups * rows * INNER) return;
  const i64 line = i / INNER, group = line / rows, row = g.v[29] + line % rows;
  int rest = (int)(i % INNER), tap[3];
  const int channel = rest % DEPTH;
  rest /= DEPTH;
#pragma unroll
  for (int a = 2; a >= 0; a--) { tap[a] = rest % KERNEL(a); rest /= KERNEL(a); }
  const i64 at = element(place_of(row, g), tap, g);
  out[i] = at < 0 ? convert<T>(0.f) : x[at + group * DEPTH + channel];
}
#endif
