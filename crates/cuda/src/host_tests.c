// NVIDIA's driver, compiler and products as libraries that do nothing: every call succeeds, memory is an
// address that nobody reads, kernels take a moment and write nothing. A call after the process began to end
// aborts it, as the real driver may.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long long u64;
static volatile int ended;
static void end(void) {
  ended = 1;
  // Time for who does not know it.
  usleep(50000);
}
static int done(void) {
  if (ended) abort();
  return 0;
}
static int made(void** handle) {
  *handle = malloc(64);
  return done();
}

int cuInit(unsigned flags) { return atexit(end); }
int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
int cuDeviceGetCount(int* count) { *count = 1; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char* name, int room, int device) { strncpy(name, "nothing", room); return 0; }
int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = 80ull << 30; return 0; }
int cuDeviceGetAttribute(int* value, int which, int device) {
  enum { PROCESSORS = 16, CACHE = 38, MAJOR = 75, MINOR = 76, SHARED = 97 };
  switch (which) {
    case PROCESSORS: *value = 132; break;
    case CACHE: *value = 50 << 20; break;
    case MAJOR: *value = 9; break;
    case MINOR: *value = 0; break;
    case SHARED: *value = 227 << 10; break;
    default: *value = 1;
  }
  return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int device) { return made(context); }
int cuCtxSetCurrent(void* context) { return done(); }
int cuCtxSynchronize(void) { return done(); }
int cuStreamCreate(void** stream, unsigned flags) { return made(stream); }
int cuStreamDestroy_v2(void* stream) { return done(); }
int cuStreamWaitEvent(void* stream, void* event, unsigned flags) { return done(); }
int cuStreamSynchronize(void* stream) { return done(); }
int cuStreamBeginCapture_v2(void* stream, int mode) { return done(); }
int cuStreamEndCapture(void* stream, void** graph) { return made(graph); }
int cuGraphInstantiateWithFlags(void** ready, void* graph, u64 flags) { return made(ready); }
int cuGraphLaunch(void* graph, void* stream) { return done(); }
int cuGraphExecDestroy(void* graph) { return done(); }
int cuGraphDestroy(void* graph) { return done(); }
int cuEventCreate(void** event, unsigned flags) { return made(event); }
int cuEventRecord(void* event, void* stream) { return done(); }
int cuEventSynchronize(void* event) { return done(); }
int cuEventDestroy_v2(void* event) { return done(); }
int cuMemAlloc_v2(u64* at, size_t bytes) {
  static u64 next = 1ull << 40;
  *at = __atomic_fetch_add(&next, (bytes + 4095) / 4096 * 4096, __ATOMIC_RELAXED);
  return done();
}
int cuMemFree_v2(u64 at) { return done(); }
int cuMemHostAlloc(void** at, size_t bytes, unsigned flags) { *at = calloc(1, bytes); return done(); }
int cuMemFreeHost(void* at) { free(at); return done(); }
int cuMemsetD8_v2(u64 at, unsigned char value, size_t bytes) { return done(); }
int cuMemsetD8Async(u64 at, unsigned char value, size_t bytes, void* stream) { return done(); }
int cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t bytes, void* stream) { return done(); }
int cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t bytes, void* stream) { memset(to, 0, bytes); return done(); }
int cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, void* stream) { return done(); }
int cuModuleLoadData(void** module, const void* code) { return made(module); }
int cuModuleGetFunction(void** function, void* module, const char* name) { return made(function); }
int cuFuncSetAttribute(void* function, int which, int value) { return done(); }
int cuTensorMapEncodeTiled(void* map) { return done(); }
int cuLaunchKernel(void* function) { usleep(20); return done(); }
int cuLaunchKernelEx(void* config) { usleep(20); return done(); }
int cuGetErrorString(int code, const char** text) { *text = "nothing"; return 0; }

int nvrtcVersion(int* major, int* minor) { *major = 13; *minor = 0; return 0; }
int nvrtcCreateProgram(void** program, const char* text, const char* name, int headers) { return made(program); }
int nvrtcCompileProgram(void* program, int count, const char* const* options) { return 0; }
int nvrtcGetProgramLogSize(void* program, size_t* size) { *size = 1; return 0; }
int nvrtcGetProgramLog(void* program, char* log) { *log = 0; return 0; }
int nvrtcGetCUBINSize(void* program, size_t* size) { *size = 1; return 0; }
int nvrtcGetCUBIN(void* program, char* code) { *code = 0; return 0; }
int nvrtcDestroyProgram(void** program) { free(*program); return 0; }
const char* nvrtcGetErrorString(int code) { return "nothing"; }

int cublasLtCreate(void** handle) { return made(handle); }
int cublasLtMatmulDescCreate(void** handle, int compute, int scale) { return made(handle); }
int cublasLtMatmulDescSetAttribute(void* handle, int which, const void* value, size_t size) { return 0; }
int cublasLtMatmulDescDestroy(void* handle) { free(handle); return 0; }
int cublasLtMatmulPreferenceCreate(void** handle) { return made(handle); }
int cublasLtMatmulPreferenceSetAttribute(void* handle, int which, const void* value, size_t size) { return 0; }
int cublasLtMatmulPreferenceDestroy(void* handle) { free(handle); return 0; }
int cublasLtMatrixLayoutCreate(void** handle, int type, u64 rows, u64 columns, long long ld) { return made(handle); }
int cublasLtMatrixLayoutSetAttribute(void* handle, int which, const void* value, size_t size) { return 0; }
int cublasLtMatrixLayoutDestroy(void* handle) { free(handle); return 0; }
int cublasLtMatmulAlgoGetHeuristic(void* handle, void* product, void* a, void* b, void* c, void* d, void* preference,
                                   int most, void* results, int* count) {
  enum { RESULT = 96 };
  memset(results, 0, RESULT);
  *count = 1;
  return 0;
}
int cublasLtMatmul(void* handle) { return done(); }
