// out = softmax(scale q k^T + mask) v in float32 on the matrix units, with a running softmax (Dao,
// "FlashAttention-2", 2023). q (b, h, t, D), k (b, g, s, D), v (b, g, s, E), contiguous along the last axis
// and aligned to 16 bytes; D and E multiples of 8. A factor is hi + lo, both in the format of the units
// (tf32, 11 bits), and a product is hi hi + hi lo + lo hi, which is short of float32's by 2^-22 of it. The units
// cut sums off instead of rounding them, so they sum 16 elements of D, or BN keys, and what they have is added to the rest
// as float32 is. A block of 4 warps owns BM queries of a head, a warp 16; of keys and values, in tiles of BN, the next
// is under way while one is used. G and FLAGS are those of logits.cuh.
#define DP ((D + 15) / 16 * 16)
#define EP ((E + 31) / 32 * 32)
// Lanes read 16 bytes: eight meet all banks if rows of keys are 16 words apart, and rows of values 4.
#define DROW (DP % 32 == 0 ? DP + 16 : DP)
#define EROW (EP + 4)
#define BM 64
#define STAGE (BN * (DROW + EROW))
// Blocks that a multiprocessor should have room for.
#define BLOCKS (D <= 64 && E <= 64 && !(FLAGS & 6) ? 3 : 1)

// c += a b for a 16 x 8, b 8 x 8, c 16 x 8. Fragments are those of mma.m16n8k8 for tf32 (PTX ISA): lane l
// holds rows l / 4 and l / 4 + 8, and of the sum's axis l % 4 and l % 4 + 4.
__forceinline__ void mma(float* c, const u32* a, const u32* b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// x = hi + lo; the units read the first 11 bits of lo. A NaN goes to lo.
__forceinline__ void split(float x, u32& hi, u32& lo) {
  hi = (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
  lo = __float_as_uint(x - __uint_as_float(hi));
}
template <int WIDTH, int USED, int ROW, int ROWS>
__forceinline__ void fetch(u32 to, const float* from, i64 stride, int rows) {
  const int each = WIDTH / 4;
#pragma unroll 4
  for (int i = threadIdx.x; i < ROWS * each; i += 128) {
    const int r = i / each, c = i % each * 4;
    const bool ok = r < rows && c < USED;
    copy_16(to + (r * ROW + c) * 4, from + (ok ? r * stride + c : 0), ok);
  }
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS) flash32(const float* q, const float* k, const float* v,
    const void* mask, const float* sinks, float* out, double scale_, G g) {
  extern __shared__ __align__(128) float tiles[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, flags = FLAGS;
  const int t = (int)g.v[0], s = (int)g.v[1];
  // The longest rows of a causal product come first; else blocks of a head are neighbours.
  const u32 each = (u32)((t + BM - 1) / BM), heads = gridDim.x / each;
  const u32 bh = flags & 1 ? blockIdx.x % heads : blockIdx.x / each;
  const int first = (int)(flags & 1 ? each - 1 - blockIdx.x / heads : blockIdx.x % each) * BM;
  const int h = (int)(bh % (u32)g.v[2]), group = (int)(h * g.v[3] / g.v[2]);
  const i64 b = bh / (u32)g.v[2];
  const float scale = (float)scale_ * LOG2E;
  const int far = s - t + first + BM, end = flags & 1 && far < s ? far : s;
  const float* keys = k + b * g.v[9] + group * g.v[10];
  const float* values = v + b * g.v[12] + group * g.v[13];
  float* stages = tiles + BM * DROW;
  auto fetch_tile = [&](int c0, int stage) {
    const u32 to = shared_address(stages + stage * STAGE);
    fetch<DP, D, DROW, BN>(to, keys + (i64)c0 * g.v[11], g.v[11], end - c0);
    fetch<EP, E, EROW, BN>(to + BN * DROW * 4, values + (i64)c0 * g.v[14], g.v[14], end - c0);
  };
  fetch<DP, D, DROW, BM>(shared_address(tiles), q + b * g.v[6] + h * g.v[7] + first * g.v[8], g.v[8], t - first);
  if (end > 0) fetch_tile(0, 0);
  commit_copies();
  float acc[EP / 8][4], top[2] = {-INFINITY_F, -INFINITY_F}, sum[2] = {0.f, 0.f};
#pragma unroll
  for (int j = 0; j < EP / 8; j++)
#pragma unroll
    for (int e = 0; e < 4; e++) acc[j][e] = 0.f;
  const int row = first + warp * 16 + lane / 4;
  // What a lane reads lies here in the tiles.
  const float* qa = tiles + (warp * 16 + lane / 4) * DROW + lane % 4 * 4;
  const int ka = lane / 4 * DROW + lane % 4 * 4, va = BN * DROW + lane % 4 * 2 * EROW + lane / 4 * 4;
  int stage = 0;
  for (int c0 = 0; c0 < end; c0 += BN) {
    wait_copies<0>();
    __syncthreads();
    if (c0 + BN < end) fetch_tile(c0 + BN, stage ^ 1);
    commit_copies();
    const float* tile = stages + stage * STAGE;
    stage ^= 1;
    const int seen = flags & 1 ? s - t + first + (warp + 1) * 16 : s;
    if (c0 >= seen) continue;
    float x[BN / 8][4];
#pragma unroll
    for (int j = 0; j < BN / 8; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) x[j][e] = 0.f;
    // Of 16 elements of D a lane has four neighbours, two for each of two products.
#pragma unroll 1
    for (int d = 0; d < DP; d += 16) {
      u32 ah[2][4], al[2][4];
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const Pack<float, 4> y = *(const Pack<float, 4>*)(qa + r * 8 * DROW + d);
#pragma unroll
        for (int e = 0; e < 4; e++) split(y.v[e], ah[e / 2][e % 2 * 2 + r], al[e / 2][e % 2 * 2 + r]);
      }
#pragma unroll
      for (int j = 0; j < BN / 8; j++) {
        u32 bh[4], bl[4];
        const Pack<float, 4> y = *(const Pack<float, 4>*)(tile + ka + j * 8 * DROW + d);
#pragma unroll
        for (int e = 0; e < 4; e++) split(y.v[e], bh[e], bl[e]);
        float part[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
        for (int u = 0; u < 2; u++) { mma(part, al[u], bh + 2 * u); mma(part, ah[u], bl + 2 * u); }
#pragma unroll
        for (int u = 0; u < 2; u++) mma(part, ah[u], bh + 2 * u);
#pragma unroll
        for (int e = 0; e < 4; e++) x[j][e] += part[e];
      }
    }
    const bool edge = c0 + BN > end || ((flags & 1) && c0 + BN > seen - 15);
#pragma unroll
    for (int j = 0; j < BN / 8; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) x[j][e] *= scale;
      if (edge || (flags & 6)) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
          const int i = row + 8 * r, limit = flags & 1 ? s - t + i + 1 : s;
          mask_pair(&x[j][2 * r], c0 + j * 8 + lane % 4 * 2, i >= t ? 0 : limit < s ? limit : s, flags, mask,
                    b * g.v[15] + h * g.v[16] + i * g.v[17], g.v[18]);
        }
      }
    }
    float keep[2];
    soften<BN / 8>(x, top, sum, keep);
    // Of 32 elements of E a lane has four neighbours, one for each of four products; of keys those of its weights.
#pragma unroll
    for (int e0 = 0; e0 < EP / 8; e0 += 4) {
      float part[4][4];
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) part[j][e] = 0.f;
#pragma unroll
      for (int n = 0; n < BN / 8; n++) {
        u32 ah[4], al[4], bh[4][2], bl[4][2];
#pragma unroll
        for (int e = 0; e < 4; e++) split(x[n][e], ah[e % 2 * 2 + e / 2], al[e % 2 * 2 + e / 2]);
#pragma unroll
        for (int r = 0; r < 2; r++) {
          const Pack<float, 4> y = *(const Pack<float, 4>*)(tile + va + (n * 8 + r) * EROW + e0 * 8);
#pragma unroll
          for (int j = 0; j < 4; j++) split(y.v[j], bh[j][r], bl[j][r]);
        }
#pragma unroll
        for (int j = 0; j < 4; j++) mma(part[j], al, bh[j]);
#pragma unroll
        for (int j = 0; j < 4; j++) mma(part[j], ah, bl[j]);
#pragma unroll
        for (int j = 0; j < 4; j++) mma(part[j], ah, bh[j]);
      }
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) acc[e0 + j][e] = fmaf(acc[e0 + j][e], keep[e / 2], part[j][e]);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int i = row + 8 * r;
    float total = quad_sum(sum[r]), by = 1.f;
    if (flags & 8) {
      const float sink = sinks[h] * LOG2E, high = fmaxf(top[r], sink), base = high == -INFINITY_F ? 0.f : high;
      by = exp2_of(top[r] - base); total = total * by + exp2_of(sink - base);
    }
    by = total == 0.f ? 0.f : by / total;
    if (i >= t) continue;
    float* to = out + ((b * g.v[2] + h) * t + i) * E + lane % 4 * 8;
#pragma unroll
    for (int j = 0; j < EP / 8; j += 4) {
      if (j * 8 + lane % 4 * 8 >= E) continue;
#pragma unroll
      for (int c = 0; c < 2; c++) {
        Pack<float, 4> y;
#pragma unroll
        for (int e = 0; e < 4; e++) y.v[e] = acc[j + e][2 * r + c] * by;
        *(Pack<float, 4>*)(to + j * 8 + c * 4) = y;
      }
    }
  }
}
