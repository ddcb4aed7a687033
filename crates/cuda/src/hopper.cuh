// Warpgroup products and the copy engine of compute capability 9.0, for elements of 16 bits (bfloat16, or
// float16 with HALF). Nothing here is a kernel. Tiles lie in shared memory in parts of 64 columns, with the
// swizzle of 128 bytes (PTX ISA, "Asynchronous warpgroup level matrix multiply-accumulate").
struct alignas(128) Map { u64 v[16]; };
#ifdef HALF
#define KIND "f16"
#else
#define KIND "bf16"
#endif

__forceinline__ void barrier_start(u32 b, int n) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(b), "r"(n) : "memory"); }
__forceinline__ void barrier_expect(u32 b, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(b), "r"(bytes) : "memory");
}
__forceinline__ void barrier_arrive(u32 b) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(b) : "memory"); }
__forceinline__ void barrier_wait(u32 b, u32 parity) {
  asm volatile("{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra done;\nbra again;\ndone:\n}"
               :: "r"(b), "r"(parity) : "memory");
}
__forceinline__ void bring(u32 to, const Map* map, u32 barrier, int c, int row, int h, int b) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
               :: "r"(to), "l"((u64)map), "r"(barrier), "r"(c), "r"(row), "r"(h), "r"(b) : "memory");
}
// Sends a tile of 64 columns back; `departed` waits until the engine has read all that the thread sent.
__forceinline__ void send(const Map* map, u32 from, int c, int row, int h, int b) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];"
               :: "l"((u64)map), "r"(from), "r"(c), "r"(row), "r"(h), "r"(b) : "memory");
}
__forceinline__ void departed() { asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;" ::: "memory"); }
// Lets the copy engine and products see what the thread wrote to shared memory.
__forceinline__ void show_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Four 8 x 8 matrices to the rows whose addresses the lanes give.
__forceinline__ void store_4(u32 at, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" :: "r"(at), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
// A tile's description: address, distances of 64-column parts (V) and of 8 rows, in units of 16 bytes.
__forceinline__ u64 describe(u32 at, u32 parts) {
  return (u64)((at & 0x3ffff) >> 4) | (u64)(parts >> 4) << 16 | (u64)(1024 >> 4) << 32 | 1ull << 62;
}
__forceinline__ void product_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__forceinline__ void product_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __forceinline__ void product_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory"); }
#define F4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define F16(d, i) F4(d, i), F4(d, i + 4), F4(d, i + 8), F4(d, i + 12)
#define LIST32 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}"
#define LIST64 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}"

// x (64, N) = or += a b for 16 elements of the summed axis: tiles are contiguous along it, or transposed (TA, TB)
// along their own.
template <int N, int TA, int TB> __forceinline__ void product_shared(float* x, u64 a, u64 b, int add) {
  if constexpr (N == 128)
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32." KIND "." KIND " " LIST64 ", %64, %65, p, 1, 1, %67, %68;\n}"
                 : F16(x, 0), F16(x, 16), F16(x, 32), F16(x, 48) : "l"(a), "l"(b), "r"(add), "n"(TA), "n"(TB));
  else
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32." KIND "." KIND " " LIST32 ", %32, %33, p, 1, 1, %35, %36;\n}"
                 : F16(x, 0), F16(x, 16) : "l"(a), "l"(b), "r"(add), "n"(TA), "n"(TB));
}
// Four floats of block `rank` of the cluster, which lie there as at an address of the caller's own shared memory.
__forceinline__ void floats_of(int rank, u32 at, float* x) {
  u32 there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(at), "r"(rank));
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3]) : "r"(there) : "memory");
}
