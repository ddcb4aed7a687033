// Copies between blocks of device memory, of which blockIdx.y takes one: a thread for every 16 bytes at a
// time. Small ones go to memory of the host, too.
struct Words { u64 lo, hi; };
struct Copy { const u8* from; u8* to; u8* host; i64 bytes; };
struct Copies { Copy of[16]; };
extern "C" __global__ void copies(const __grid_constant__ Copies copies) {
  const Copy& copy = copies.of[blockIdx.y];
  const i64 whole = copy.bytes / 16, step = (i64)gridDim.x * blockDim.x;
  const i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  for (i64 i = first; i < whole; i += step) ((Words*)copy.to)[i] = ((const Words*)copy.from)[i];
  for (i64 i = whole * 16 + first; i < copy.bytes; i += step) copy.to[i] = copy.from[i];
  if (copy.host)
    for (i64 i = first; i < copy.bytes; i += step) copy.host[i] = copy.from[i];
}
