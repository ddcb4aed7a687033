// out (batch, m, n) = a (batch, m, k) b (batch, k, n), for element types and machines for which the libraries
// have no product: any strides, sums in U (integers wrap). A block owns 64 x 64 elements of a result, a thread 4 x 4
// of them. G: m, n, k, strides of a (m, k), of b (k, n), batches, batch axes, then for each (size, stride of a,
// stride of b).
struct G { i64 v[64]; };
#define TILE 64
#define DEPTH 16
extern "C" __global__ void __launch_bounds__(256) product(const T* a, const T* b, O* out, G g) {
  OVERLAPS
  __shared__ U left[DEPTH][TILE + 1], right[DEPTH][TILE + 1];
  const i64 m = g.v[0], n = g.v[1], k = g.v[2], across = (n + TILE - 1) / TILE;
  const i64 row = blockIdx.x / across * TILE, column = blockIdx.x % across * TILE;
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  for (i64 batch = blockIdx.z; batch < g.v[7]; batch += gridDim.z) {
    i64 rest = batch, from_a = 0, from_b = 0;
    for (int axis = (int)g.v[8] - 1; axis >= 0; axis--) {
      const i64 size = g.v[9 + 3 * axis], next = rest / size, at = rest - next * size;
      from_a += at * g.v[10 + 3 * axis]; from_b += at * g.v[11 + 3 * axis]; rest = next;
    }
    U sums[4][4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) sums[i][j] = U(0);
    for (i64 first = 0; first < k; first += DEPTH) {
      for (int e = threadIdx.x; e < TILE * DEPTH; e += 256) {
        // Neighbours of a thread read neighbours of a row of a, and of a row of b.
        const i64 i = row + e / DEPTH, p = first + e % DEPTH, j = column + e % TILE, q = first + e / TILE;
        left[e % DEPTH][e / DEPTH] = i < m && p < k ? (U)widen(a[from_a + i * g.v[3] + p * g.v[4]]) : U(0);
        right[e / TILE][e % TILE] = j < n && q < k ? (U)widen(b[from_b + q * g.v[5] + j * g.v[6]]) : U(0);
      }
      __syncthreads();
#pragma unroll
      for (int d = 0; d < DEPTH; d++)
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
          for (int j = 0; j < 4; j++) sums[i][j] = sums[i][j] + left[d][y * 4 + i] * right[d][x + 16 * j];
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const i64 r = row + y * 4 + i, c = column + x + 16 * j;
        if (r < m && c < n) out[(batch * m + r) * n + c] = convert<O>(sums[i][j]);
      }
  }
}
