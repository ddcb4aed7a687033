// Factors of many small matrices: a block of 256 threads owns a matrix of T, which lies in shared memory column by column,
// `rows` high and `columns` wide; a warp owns a column, or two that are rotated. R is the type of sizes.
#define WARPS 8

__forceinline__ float size2(float x) { return x * x; }
__forceinline__ double size2(double x) { return x * x; }
__forceinline__ float size2(c64 x) { return x.re * x.re + x.im * x.im; }
__forceinline__ float root(float x) { return sqrtf(x); }
__forceinline__ double root(double x) { return sqrt(x); }
__forceinline__ float times(float x, float y) { return x * y; }
__forceinline__ double times(double x, double y) { return x * y; }
__forceinline__ c64 times(c64 x, float y) { return c64(x.re * y, x.im * y); }
__forceinline__ float largest(float x) { return fabsf(x); }
__forceinline__ double largest(double x) { return fabs(x); }
__forceinline__ float largest(c64 x) { return fmaxf(fabsf(x.re), fabsf(x.im)); }
__forceinline__ float shifted(float x, int by) { return __shfl_xor_sync(0xffffffffu, x, by); }
__forceinline__ double shifted(double x, int by) { return __shfl_xor_sync(0xffffffffu, x, by); }
__forceinline__ c64 shifted(c64 x, int by) { return c64(shifted(x.re, by), shifted(x.im, by)); }
template <class X> __forceinline__ X over_lanes(X x) {
#pragma unroll
  for (int by = 16; by > 0; by /= 2) x = x + shifted(x, by);
  return x;
}

#ifdef JACOBI
// Singular values s (columns) in decreasing order, and with vectors U' (wanted, rows) and V' (columns, columns), a row
// for each vector, of a (columns, rows), columns <= rows: A V' = U' diag(s), by rotations of pairs of columns until all
// are orthogonal (Hestenes; de Rijk, SIAM J. Sci. Stat. Comput. 10, 1989). Vectors of U' for which there is no s, or
// one of 0, complete the basis. info is 1 if 40 rounds over all pairs were not enough.
extern "C" __global__ void __launch_bounds__(256, sizeof(T) == 4 ? 5 : 1) jacobi(const T* a, R* s, T* u, T* v, i32* info, i64 rows64, i64 columns64,
                                                         i64 wanted64, i64 vectors) {
  extern __shared__ __align__(16) unsigned char memory[];
  const int rows = (int)rows64, columns = (int)columns64, wanted = (int)wanted64;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  T* x = (T*)memory;                                   // (columns, rows)
  T* turns = x + (i64)columns * rows;                  // (columns, columns) with vectors
  T* factors = turns + (vectors ? columns * columns : 0);  // (rows): of a projection
  R* sizes = (R*)(factors + rows);                     // (columns)
  R* weights = sizes + columns;                        // (rows): what the basis has of each axis
  __shared__ R most[WARPS];
  __shared__ int rotated;
  __shared__ int picked;
  a += (i64)blockIdx.x * rows * columns;
  R great = R(0);
  for (int i = threadIdx.x; i < rows * columns; i += 256) { x[i] = a[i]; great = max(great, (R)largest(x[i])); }
  if (vectors)
    for (int i = threadIdx.x; i < columns * columns; i += 256) turns[i] = T(i / columns == i % columns ? 1 : 0);
#pragma unroll
  for (int by = 16; by > 0; by /= 2) great = max(great, shifted(great, by));
  if (lane == 0) most[warp] = great;
  __syncthreads();
  for (int w = 0; w < WARPS; w++) great = max(great, most[w]);
  // Squares of the scaled numbers stay in range.
  const R scale = great > R(0) ? great : R(1);
  for (int i = threadIdx.x; i < rows * columns; i += 256) x[i] = times(x[i], R(1) / scale);
  const R tiny = (sizeof(R) == 8 ? R(2.3e-16) : R(1.2e-7)) * root((R)rows);
  const int even = (columns + 1) / 2 * 2;
  int left = 40;
  for (; left > 0; left--) {
    __syncthreads();
    if (threadIdx.x == 0) rotated = 0;
    __syncthreads();
    for (int round = 0; round < even - 1; round++) {
      // Of a tournament: the last player stays, the others move on.
      for (int pair = warp; pair < even / 2; pair += WARPS) {
        const int p = pair == 0 ? even - 1 : (round + pair) % (even - 1), q = (round + even - 1 - pair) % (even - 1);
        const int i = min(p, q), j = max(p, q);
        if (j >= columns) continue;
        T* xi = x + i * rows;
        T* xj = x + j * rows;
        R alpha = R(0), beta = R(0);
        T gamma = T(0);
        for (int k = lane; k < rows; k += 32) {
          alpha += size2(xi[k]); beta += size2(xj[k]);
          gamma = gamma + op_conj(xi[k]) * xj[k];
        }
        alpha = over_lanes(alpha); beta = over_lanes(beta); gamma = over_lanes(gamma);
        const R size = root(size2(gamma));
        if (!(size > tiny * root(alpha) * root(beta)) || size == R(0)) continue;
        if (lane == 0) rotated = 1;
        const R zeta = (beta - alpha) / (R(2) * size);
        const R t = (zeta >= R(0) ? R(1) : R(-1)) / (fabs(zeta) + root(R(1) + zeta * zeta));
        const R c = R(1) / root(R(1) + t * t), sine = c * t;
        const T phase = op_conj(times(gamma, R(1) / size));
        for (int k = lane; k < rows; k += 32) {
          const T l = xi[k], r = xj[k] * phase;
          xi[k] = times(l, c) - times(r, sine);
          xj[k] = times(l, sine) + times(r, c);
        }
        if (vectors) {
          T* vi = turns + i * columns;
          T* vj = turns + j * columns;
          for (int k = lane; k < columns; k += 32) {
            const T l = vi[k], r = vj[k] * phase;
            vi[k] = times(l, c) - times(r, sine);
            vj[k] = times(l, sine) + times(r, c);
          }
        }
      }
      __syncthreads();
    }
    if (!rotated) break;
  }
  if (threadIdx.x == 0 && left == 0) info[blockIdx.x] = 1;
  for (int j = warp; j < columns; j += WARPS) {
    R sum = R(0);
    for (int k = lane; k < rows; k += 32) sum += size2(x[j * rows + k]);
    sum = over_lanes(sum);
    if (lane == 0) sizes[j] = root(sum);
  }
  __syncthreads();
  s += (i64)blockIdx.x * columns; u += (i64)blockIdx.x * wanted * rows; v += (i64)blockIdx.x * columns * columns;
  int full = 0;
  for (int j = 0; j < columns; j++) full += sizes[j] > R(0);
  for (int j = warp; j < columns; j += WARPS) {
    const R own = sizes[j];
    int place = 0;
    for (int k = 0; k < columns; k++) place += sizes[k] > own || (sizes[k] == own && k < j);
    if (lane == 0) s[place] = own * scale;
    if (!vectors) continue;
    if (own > R(0))
      for (int k = lane; k < rows; k += 32) u[(i64)place * rows + k] = times(x[j * rows + k], R(1) / own);
    for (int k = lane; k < columns; k += 32) v[(i64)place * columns + k] = turns[j * columns + k];
  }
  if (!vectors || full >= wanted) return;
  __syncthreads();
  // Each further vector is what the basis lacks of the axis of which it has least.
  for (int k = threadIdx.x; k < rows; k += 256) {
    weights[k] = R(0);
    for (int j = 0; j < full; j++) weights[k] += size2(u[(i64)j * rows + k]);
  }
  __syncthreads();
  for (int next = full; next < wanted; next++) {
    T* own = u + (i64)next * rows;
    if (threadIdx.x == 0) {
      picked = 0;
      for (int k = 1; k < rows; k++) if (weights[k] < weights[picked]) picked = k;
    }
    __syncthreads();
    for (int k = threadIdx.x; k < rows; k += 256) own[k] = T(k == picked ? 1 : 0);
    __syncthreads();
    // Twice, since once leaves roundings of the size of what it took away.
    for (int pass = 0; pass < 2; pass++) {
      for (int j = warp; j < next; j += WARPS) {
        T sum = T(0);
        for (int k = lane; k < rows; k += 32) sum = sum + op_conj(u[(i64)j * rows + k]) * own[k];
        sum = over_lanes(sum);
        if (lane == 0) factors[j] = sum;
      }
      __syncthreads();
      for (int k = threadIdx.x; k < rows; k += 256) {
        T rest = own[k];
        for (int j = 0; j < next; j++) rest = rest - factors[j] * u[(i64)j * rows + k];
        own[k] = rest;
      }
      __syncthreads();
    }
    R sum = R(0);
    for (int k = lane; k < rows; k += 32) sum += size2(own[k]);
    const R by = R(1) / root(over_lanes(sum));
    __syncthreads();
    for (int k = threadIdx.x; k < rows; k += 256) {
      own[k] = times(own[k], by);
      weights[k] += size2(own[k]);
    }
    __syncthreads();
  }
}
#endif

#ifdef HOUSEHOLDER
__forceinline__ float imaginary(float) { return 0.f; }
__forceinline__ double imaginary(double) { return 0.; }
__forceinline__ float imaginary(c64 x) { return x.im; }
template <class X> __forceinline__ X number(R re, R) { return re; }
template <> __forceinline__ c64 number<c64>(R re, R im) { return c64(re, im); }

// Adds to column y what makes it (I - tau w w^H) y, for w that is 1 at `first` and x below.
__forceinline__ void reflect(const T* x, T* y, T tau, int first, int rows, int lane) {
  T sum = T(0);
  for (int k = first + 1 + lane; k < rows; k += 32) sum = sum + op_conj(x[k]) * y[k];
  sum = tau * (over_lanes(sum) + y[first]);
  __syncwarp();
  if (lane == 0) y[first] = y[first] - sum;
  for (int k = first + 1 + lane; k < rows; k += 32) y[k] = y[k] - sum * x[k];
}

// Q (k, rows), a row for each of its k = min(rows, columns) columns, and R (k, columns) by rows, of a (columns, rows), by
// reflections, with LAPACK's signs (geqr2, larfg): the diagonal of R is real, and minus the size of what it replaces.
extern "C" __global__ void __launch_bounds__(256) householder(const T* a, T* q, T* r, i64 rows64, i64 columns64) {
  extern __shared__ __align__(16) unsigned char memory[];
  const int rows = (int)rows64, columns = (int)columns64, k = min(rows, columns);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  T* x = (T*)memory;              // (columns, rows): reflections and R
  T* y = x + (i64)columns * rows; // (k, rows): Q
  T* taus = y + (i64)k * rows;    // (k)
  a += (i64)blockIdx.x * rows * columns; q += (i64)blockIdx.x * k * rows; r += (i64)blockIdx.x * k * columns;
  for (int i = threadIdx.x; i < rows * columns; i += 256) x[i] = a[i];
  for (int i = threadIdx.x; i < k * rows; i += 256) y[i] = T(i / rows == i % rows ? 1 : 0);
  __syncthreads();
  for (int j = 0; j < k; j++) {
    T* own = x + j * rows;
    if (warp == 0) {
      R below = R(0);
      for (int i = j + 1 + lane; i < rows; i += 32) below += size2(own[i]);
      below = over_lanes(below);
      const T head = own[j];
      __syncwarp();
      T tau = T(0);
      if (below > R(0) || imaginary(head) != R(0)) {
        const R size = root(below + size2(head)), front = convert<R>(head), beta = front >= R(0) ? -size : size;
        tau = number<T>((beta - front) / beta, -imaginary(head) / beta);
        const T by = T(1) / (head - T(beta));
        for (int i = j + 1 + lane; i < rows; i += 32) own[i] = own[i] * by;
        if (lane == 0) own[j] = T(beta);
      }
      if (lane == 0) taus[j] = tau;
    }
    __syncthreads();
    for (int other = j + 1 + warp; other < columns; other += WARPS)
      reflect(own, x + other * rows, op_conj(taus[j]), j, rows, lane);
    __syncthreads();
  }
  for (int i = threadIdx.x; i < k * columns; i += 256) {
    const int row = i / columns, column = i % columns;
    r[i] = column >= row ? x[column * rows + row] : T(0);
  }
  for (int j = k - 1; j >= 0; j--) {
    for (int other = j + warp; other < k; other += WARPS) reflect(x + j * rows, y + other * rows, taus[j], j, rows, lane);
    __syncthreads();
  }
  for (int i = threadIdx.x; i < k * rows; i += 256) q[i] = y[i];
}
#endif
