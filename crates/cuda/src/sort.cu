// Stable sorts of contiguous rows of n elements by digits of 8 bits, least first. Elements T become unsigned
// keys U of the same order (FLOATING, SIGNED or neither); NaN is the greatest key. With PLACES the results
// are the elements' places (u32), else the elements. A block of 256 threads owns a tile of 256 * ITEMS
// elements, of which a warp owns 32 * ITEMS neighbours.
#define THREADS 256
#define TILE (THREADS * ITEMS)
#ifdef PLACES
typedef u32 Out;
#else
typedef T Out;
#endif

__forceinline__ U key_of(T x) {
  union { T t; U u; } c; c.u = 0; c.t = x;
  [[maybe_unused]] const U top = U(1) << (sizeof(U) * 8 - 1);
#if defined(FLOATING)
  if (widen(x) != widen(x)) return U(~U(0));
#ifdef PLACES
  if (U(c.u << 1) == 0) c.u = 0;  // zeros of both signs keep their order
#endif
  return c.u & top ? U(~c.u) : U(c.u | top);
#elif defined(SIGNED)
  return c.u ^ top;
#else
  return c.u;
#endif
}
__forceinline__ T element_of(U k) {
  [[maybe_unused]] const U top = U(1) << (sizeof(U) * 8 - 1);
  union { T t; U u; } c;
#if defined(FLOATING)
  c.u = k & top ? U(k ^ top) : U(~k);
#elif defined(SIGNED)
  c.u = k ^ top;
#else
  c.u = k;
#endif
  return c.t;
}

// The sum over threads before this one; 256 threads.
__forceinline__ u32 sum_before(u32 x) {
  __shared__ u32 ends[8];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  u32 sum = x;
#pragma unroll
  for (int d = 1; d < 32; d <<= 1) { u32 y = __shfl_up_sync(0xffffffffu, sum, d); if (lane >= d) sum += y; }
  __syncthreads();
  if (lane == 31) ends[warp] = sum;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < 8; w++) if (w < warp) sum += ends[w];
  return sum - x;
}

// The places of the thread's keys in the tile sorted by one digit. On return thread d knows how many keys
// have digit d (`total`) and where they begin (`start`).
__forceinline__ void rank(const U* keys, int shift, u32 (*counts)[256], u32* places, u32& total, u32& start) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
  for (int w = 0; w < 8; w++) counts[w][threadIdx.x] = 0;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    const u32 digit = (u32)(keys[i] >> shift) & 255u;
    // The lanes with the same digit: eight votes, which cost less than one match of whole digits.
    u32 peers = 0xffffffffu;
#pragma unroll
    for (int bit = 0; bit < 8; bit++) {
      const bool set = digit >> bit & 1;
      const u32 vote = __ballot_sync(0xffffffffu, set);
      peers &= set ? vote : ~vote;
    }
    const u32 before = counts[warp][digit];
    __syncwarp();
    const u32 lower = __popc(peers & ((1u << lane) - 1));
    if (lower == 0) counts[warp][digit] = before + __popc(peers);
    __syncwarp();
    places[i] = before + lower;
  }
  __syncthreads();
  total = 0;
#pragma unroll
  for (int w = 0; w < 8; w++) { u32 c = counts[w][threadIdx.x]; counts[w][threadIdx.x] = total; total += c; }
  start = sum_before(total);
#pragma unroll
  for (int w = 0; w < 8; w++) counts[w][threadIdx.x] += start;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < ITEMS; i++) places[i] += counts[warp][(u32)(keys[i] >> shift) & 255u];
}

#ifdef ROWS
// A block sorts a row of at most TILE elements.
extern "C" __global__ void __launch_bounds__(THREADS, sizeof(T) == 8 ? 2 : 0) sort_rows(const T* x, Out* out, i64 n) {
  __shared__ u32 counts[8][256];
  __shared__ U keys[TILE];
#ifdef PLACES
  __shared__ u16 origins[TILE];
  u16 origin[ITEMS];
#endif
  const T* from = x + (i64)blockIdx.x * n;
  Out* to = out + (i64)blockIdx.x * n;
  const int first = (threadIdx.x >> 5) * 32 * ITEMS + (threadIdx.x & 31);
  U key[ITEMS];
  u32 places[ITEMS], total, start;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    const int j = first + i * 32;
    key[i] = j < n ? key_of(from[j]) : U(~U(0));
#ifdef PLACES
    origin[i] = (u16)j;
#endif
  }
#pragma unroll 1
  for (int shift = 0; shift < (int)sizeof(U) * 8; shift += 8) {
    rank(key, shift, counts, places, total, start);
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
      keys[places[i]] = key[i];
#ifdef PLACES
      origins[places[i]] = origin[i];
#endif
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
      key[i] = keys[first + i * 32];
#ifdef PLACES
      origin[i] = origins[first + i * 32];
#endif
    }
  }
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    const int j = first + i * 32;
#ifdef PLACES
    if (j < n) to[j] = origin[i];
#else
    if (j < n) to[j] = element_of(key[i]);
#endif
  }
}
#endif

#ifdef COUNT
// How often each digit of each pass occurs in each row: counts (rows, passes, 256), zero before. Lanes count
// apart, COPIES of them, since many keys share their upper digits.
#define COPIES (sizeof(U) > 2 ? 4 : 8)
extern "C" __global__ void __launch_bounds__(THREADS) count_digits(const T* x, u32* counts, i64 n) {
  __shared__ u32 own[sizeof(U)][256][COPIES];
  for (int p = 0; p < (int)sizeof(U); p++)
    for (int c = 0; c < (int)COPIES; c++) own[p][threadIdx.x][c] = 0;
  __syncthreads();
  const T* from = x + (i64)blockIdx.y * n;
#pragma unroll 8
  for (i64 j = (i64)blockIdx.x * THREADS + threadIdx.x; j < n; j += (i64)gridDim.x * THREADS) {
    U key = key_of(from[j]);
#pragma unroll
    for (int p = 0; p < (int)sizeof(U); p++) atomicAdd(&own[p][(u32)(key >> (8 * p)) & 255u][threadIdx.x % COPIES], 1u);
  }
  __syncthreads();
  for (int p = 0; p < (int)sizeof(U); p++) {
    u32 sum = 0;
    for (int c = 0; c < (int)COPIES; c++) sum += own[p][threadIdx.x][c];
    if (sum) atomicAdd(&counts[((i64)blockIdx.y * sizeof(U) + p) * 256 + threadIdx.x], sum);
  }
}
#endif

#ifdef SWEEP
// One pass over rows of any length below 2^30 (Adinets and Merrill, "Onesweep", 2022). Tiles take their
// number from `tickets`, so that all earlier ones are under way; thread d adds up what the tiles before
// have of digit d from what they left in `status` (rows, tiles, 256): nothing yet (0), their own count
// (1 in the upper two bits), or that of all tiles up to theirs (2). All zero before.
#define OWN (1u << 30)
#define ALL (2u << 30)
extern "C" __global__ void __launch_bounds__(THREADS) sweep(const void* in, void* out, const u32* in_places, u32* out_places,
    const u32* digits, u32* status, u32* tickets, i64 n, i64 tiles, i64 pass) {
  __shared__ u32 counts[8][256];
  __shared__ U keys[TILE];
#ifdef PLACES
  __shared__ u32 origins[TILE];
#endif
  __shared__ u32 begins[256];
  __shared__ u32 ticket;
  const i64 row = blockIdx.y, base = row * n;
  if (threadIdx.x == 0) ticket = atomicAdd(&tickets[row], 1u);
  __syncthreads();
  const i64 tile = ticket;
  const bool first_pass = pass == 0, last_pass = pass == (i64)sizeof(U) - 1;
  const int shift = (int)pass * 8, held = (int)(n - tile * TILE < TILE ? n - tile * TILE : TILE);
  const int first = (threadIdx.x >> 5) * 32 * ITEMS + (threadIdx.x & 31);
  U key[ITEMS];
  u32 places[ITEMS], total, start;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    const int j = first + i * 32;
    const i64 at = base + tile * TILE + j;
    key[i] = j >= held ? U(~U(0)) : first_pass ? key_of(((const T*)in)[at]) : ((const U*)in)[at];
  }
  rank(key, shift, counts, places, total, start);
  // Elements past the end of the row are the last of their digit in the last tile: they move nobody.
  volatile u32* mine = status + (row * tiles + tile) * 256 + threadIdx.x;
  *mine = total | (tile == 0 ? ALL : OWN);
  u32 before = 0;
  for (i64 p = tile - 1; p >= 0;) {
    const u32 seen = *(volatile u32*)(status + (row * tiles + p) * 256 + threadIdx.x);
    if (seen == 0) continue;
    before += seen & (OWN - 1);
    if (seen & ALL) break;
    p--;
  }
  if (tile > 0) *mine = (before + total) | ALL;
  const u32 digit_begin = sum_before(digits[(row * sizeof(U) + pass) * 256 + threadIdx.x]);
  begins[threadIdx.x] = digit_begin + before - start;
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    keys[places[i]] = key[i];
#ifdef PLACES
    const int j = first + i * 32;
    const u32 at = (u32)(tile * TILE + j);
    if (j < held) origins[places[i]] = first_pass ? at : in_places[base + at];
#endif
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < ITEMS; i++) {
    const int j = i * THREADS + threadIdx.x;
    if (j >= held) break;
    const U k = keys[j];
    const i64 at = base + (u32)(begins[(u32)(k >> shift) & 255u] + j);
#ifdef PLACES
    out_places[at] = origins[j];
    if (!last_pass) ((U*)out)[at] = k;
#else
    if (last_pass) ((T*)out)[at] = element_of(k); else ((U*)out)[at] = k;
#endif
  }
}
#endif
