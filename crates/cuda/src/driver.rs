//! The driver: found at run time, asked for devices once, and called through small wrappers that
//! turn its codes into errors.
//!
//! Invariant: nothing below calls into a library before [`availability`] has said that it is there,
//! because a missing library would panic in the loader.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;
use std::sync::OnceLock;

use cudarc::driver::sys;
use lazulite_core::{Error, ErrorKind, Result};

pub(crate) use sys::{CUdeviceptr, CUevent, CUfunction, CUstream};

/// What the driver told of one device at the start.
#[derive(Clone, Debug)]
pub struct DeviceFacts {
    /// The product's name.
    pub name: String,
    /// The compute capability.
    pub capability: (u32, u32),
    /// The number of multiprocessors.
    pub multiprocessors: u32,
    /// The size of the device's memory in bytes.
    pub memory: usize,
    /// The size of the second-level cache in bytes.
    pub cache: usize,
    /// Bytes of shared memory that a block may have.
    pub shared: usize,
    ordinal: c_int,
}

impl DeviceFacts {
    /// The compiler's name of the architecture, such as `sm_90a`.
    pub fn architecture(&self) -> String {
        let (major, minor) = self.capability;
        let suffix = if major >= 9 { "a" } else { "" };
        format!("sm_{major}{minor}{suffix}")
    }
}

/// The oldest driver that runs programs of the CUDA 13 tool chain.
const OLDEST_DRIVER: c_int = 13000;
/// The oldest architecture whose instructions the kernels use.
const OLDEST_CAPABILITY: u32 = 8;

/// Whether CUDA can be used here; the text of the error says exactly what is missing.
///
/// # Errors
/// A sentence that names the missing library, the old driver or the absent device.
pub fn availability() -> Result<(), String> {
    devices().as_ref().map(|_| ()).map_err(Clone::clone)
}

/// The devices that the backend drives, in the driver's order.
pub(crate) fn devices() -> &'static Result<Vec<DeviceFacts>, String> {
    static DEVICES: OnceLock<Result<Vec<DeviceFacts>, String>> = OnceLock::new();
    DEVICES.get_or_init(find_devices)
}

fn find_devices() -> Result<Vec<DeviceFacts>, String> {
    // SAFETY: opening the driver's library runs its constructors only.
    if !unsafe { sys::is_culib_present() } {
        return Err("no NVIDIA driver: libcuda.so.1 is not on the loader's path".into());
    }
    let mut version = 0;
    // SAFETY: the library is there, and the pointer is to a local integer.
    let code = unsafe { sys::cuDriverGetVersion(&mut version) };
    if code != sys::CUresult::CUDA_SUCCESS {
        return Err(format!("the NVIDIA driver does not answer: {code:?}"));
    }
    if version < OLDEST_DRIVER {
        return Err(format!(
            "the NVIDIA driver is for CUDA {}.{}, but CUDA 13.0 or later is needed (driver 580)",
            version / 1000,
            version % 1000 / 10
        ));
    }
    // SAFETY: the library is there.
    let code = unsafe { sys::cuInit(0) };
    if code != sys::CUresult::CUDA_SUCCESS {
        return Err(format!("the NVIDIA driver finds no usable device: {code:?}"));
    }
    if !nvrtc_present() {
        return Err(
            "libnvrtc.so.13 is missing: pip install nvidia-cuda-nvrtc, or name its folder \
                    in LAZULITE_CUDA_LIBS"
                .into(),
        );
    }
    let mut count = 0;
    // SAFETY: the driver is initialised, and the pointer is to a local integer.
    unsafe { sys::cuDeviceGetCount(&mut count) };
    let found: Vec<DeviceFacts> = (0..count).filter_map(facts).collect();
    let usable: Vec<_> =
        found.iter().filter(|d| d.capability.0 >= OLDEST_CAPABILITY).cloned().collect();
    match (usable.is_empty(), found.first()) {
        (false, _) => Ok(usable),
        (true, Some(old)) => Err(format!(
            "{} has compute capability {}.{}, but 8.0 or later is needed",
            old.name, old.capability.0, old.capability.1
        )),
        (true, None) => Err("the NVIDIA driver sees no device".into()),
    }
}

fn facts(ordinal: c_int) -> Option<DeviceFacts> {
    use sys::CUdevice_attribute as A;
    let mut device = 0;
    // SAFETY: the ordinal is below the driver's count, and the pointer is to a local.
    ok(unsafe { sys::cuDeviceGet(&mut device, ordinal) })?;
    let mut name = [0 as c_char; 256];
    // SAFETY: the driver writes at most 256 bytes, with a final zero.
    ok(unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), 256, device) })?;
    // SAFETY: the driver ended the name with a zero.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: the device is valid, and the pointer is to a local.
        ok(unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) })?;
        Some(value as u32)
    };
    let mut memory = 0;
    // SAFETY: the device is valid, and the pointer is to a local.
    ok(unsafe { sys::cuDeviceTotalMem_v2(&mut memory, device) })?;
    Some(DeviceFacts {
        name,
        capability: (
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory,
        cache: attribute(A::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)? as usize,
        shared: attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize,
        ordinal,
    })
}

fn ok(code: sys::CUresult) -> Option<()> {
    (code == sys::CUresult::CUDA_SUCCESS).then_some(())
}

/// True iff the run-time compiler is there.
pub(crate) fn nvrtc_present() -> bool {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    *PRESENT.get_or_init(|| {
        preload(&["libnvrtc-builtins.so.13.0", "libnvrtc.so.13"]);
        // SAFETY: opening the library runs its constructors only.
        unsafe { cudarc::nvrtc::sys::is_culib_present() }
    })
}

/// True iff cublasLt is there.
pub(crate) fn cublaslt_present() -> bool {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    *PRESENT.get_or_init(|| {
        preload(&["libcublas.so.13", "libcublasLt.so.13"]);
        // SAFETY: opening the library runs its constructors only.
        unsafe { cudarc::cublaslt::sys::is_culib_present() }
    })
}

/// Folders in which the libraries of pip wheels and toolkits lie: those that `LAZULITE_CUDA_LIBS`
/// names (as `PATH` does), then those beside the Python that runs or is activated, then toolkits.
pub(crate) fn folders() -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = Vec::new();
    if let Some(named) = std::env::var_os("LAZULITE_CUDA_LIBS") {
        out.extend(std::env::split_paths(&named));
    }
    let mut prefixes: Vec<PathBuf> = Vec::new();
    prefixes.extend(
        ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(std::env::var_os).map(Into::into),
    );
    let program = std::env::current_exe().ok();
    prefixes.extend(program.iter().filter_map(|p| Some(p.parent()?.parent()?.to_path_buf())));
    for prefix in prefixes {
        let Ok(entries) = std::fs::read_dir(prefix.join("lib")) else { continue };
        for entry in
            entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("python"))
        {
            let nvidia = entry.path().join("site-packages/nvidia");
            out.push(nvidia.join("cu13/lib"));
            if let Ok(packages) = std::fs::read_dir(&nvidia) {
                out.extend(packages.flatten().map(|p| p.path().join("lib")));
            }
        }
    }
    out.push("/usr/local/cuda/lib64".into());
    out
}

/// Opens libraries by full path where the loader would not find them, and keeps them open, so that
/// the loader finds them by name afterwards.
pub(crate) fn preload(names: &[&str]) {
    let folders = folders();
    for name in names {
        let Some(path) = folders.iter().map(|f| f.join(name)).find(|p| p.is_file()) else {
            continue;
        };
        // SAFETY: opening a library of NVIDIA's runs its constructors only.
        if let Ok(library) = unsafe { libloading::Library::new(path) } {
            std::mem::forget(library);
        }
    }
}

/// The driver's code as an error of kind `Kernel` (`OutOfMemory` for that code).
pub(crate) fn check(code: sys::CUresult, what: &'static str) -> Result<()> {
    if code == sys::CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let kind = match code {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => ErrorKind::OutOfMemory,
        _ => ErrorKind::Kernel,
    };
    let mut text: *const c_char = std::ptr::null();
    // SAFETY: the driver is loaded, since it gave the code; it sets the pointer to a constant.
    unsafe { sys::cuGetErrorString(code, &mut text) };
    let text = if text.is_null() {
        "unknown".into()
    } else {
        // SAFETY: the driver's texts are constants that end with a zero.
        unsafe { CStr::from_ptr(text) }.to_string_lossy()
    };
    let lost = if is_lost(code) { LOST } else { "" };
    Err(Error::new(kind, what, format!("CUDA: {text} ({code:?}){lost}")))
}

/// What a program does about a device that is lost to it.
const LOST: &str = "; the driver ended this process's work on the device and lets it begin none: the CPU \
                    works on, and a new process has the device again";

/// True iff every later call of the process on the device fails with this code. A kernel that went
/// outside of its memory is the usual cause; ours check what they are given.
fn is_lost(code: sys::CUresult) -> bool {
    use sys::CUresult as R;
    matches!(
        code,
        R::CUDA_ERROR_ILLEGAL_ADDRESS
            | R::CUDA_ERROR_MISALIGNED_ADDRESS
            | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | R::CUDA_ERROR_INVALID_PC
            | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | R::CUDA_ERROR_HARDWARE_STACK_ERROR
            | R::CUDA_ERROR_LAUNCH_FAILED
            | R::CUDA_ERROR_LAUNCH_TIMEOUT
            | R::CUDA_ERROR_ASSERT
            | R::CUDA_ERROR_ECC_UNCORRECTABLE
            | R::CUDA_ERROR_CONTEXT_IS_DESTROYED
    )
}

/// The primary context of a device. It lives as long as the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context(sys::CUcontext);

// SAFETY: a context may be made current on any thread.
unsafe impl Send for Context {}
// SAFETY: as above; the handle itself is never changed.
unsafe impl Sync for Context {}

impl Context {
    pub fn of(device: &DeviceFacts) -> Result<Context> {
        let mut context = std::ptr::null_mut();
        // SAFETY: the ordinal is the driver's own, and the pointer is to a local.
        let code = unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device.ordinal) };
        check(code, "context")?;
        Ok(Context(context))
    }

    /// Makes the context the calling thread's current one.
    pub fn bind(self) -> Result<()> {
        // SAFETY: the context was retained and is never released.
        check(unsafe { sys::cuCtxSetCurrent(self.0) }, "context")
    }
}

/// Calls `f` when the process ends, before the driver's own end if the driver was opened before.
pub(crate) fn at_exit(f: extern "C" fn()) {
    // SAFETY: the function has this signature in every C library, and takes any function of its type.
    unsafe extern "C" {
        safe fn atexit(f: extern "C" fn()) -> c_int;
    }
    // Without room for another function, the process ends as it did before.
    let _ = atexit(f);
}

/// Plain device memory. The context must be current, as for all that follow.
pub(crate) fn allocate(bytes: usize) -> Result<CUdeviceptr> {
    let mut at = 0;
    // SAFETY: the pointer is to a local.
    check(unsafe { sys::cuMemAlloc_v2(&mut at, bytes) }, "allocate")?;
    Ok(at)
}

/// Gives back what [`allocate`] gave; the driver waits for kernels that use it.
pub(crate) fn free(at: CUdeviceptr) {
    // SAFETY: the caller owned the block and gives it up.
    unsafe { sys::cuMemFree_v2(at) };
}

/// Host memory that the device reaches by itself, also while kernels run, at the same address.
pub(crate) fn allocate_pinned(bytes: usize) -> Result<*mut u8> {
    let mut at: *mut c_void = std::ptr::null_mut();
    let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
    // SAFETY: the pointer is to a local.
    check(unsafe { sys::cuMemHostAlloc(&mut at, bytes, flags) }, "allocate")?;
    Ok(at.cast())
}

/// Gives back what [`allocate_pinned`] gave; nothing may use it any more.
pub(crate) fn free_pinned(at: *mut u8) {
    // SAFETY: the caller owned the memory and gives it up.
    unsafe { sys::cuMemFreeHost(at.cast()) };
}

/// A moment in a stream.
pub(crate) struct Event(CUevent);

// SAFETY: events belong to a context, not to a thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// An event that has not been recorded.
    ///
    /// # Errors
    /// Kind `Kernel`.
    pub fn new() -> Result<Event> {
        let mut event: CUevent = std::ptr::null_mut();
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as c_uint;
        // SAFETY: the pointer is to a local.
        check(unsafe { sys::cuEventCreate(&mut event, flags) }, "stream")?;
        Ok(Event(event))
    }

    /// Makes it the moment when all that the stream has now is done.
    ///
    /// # Errors
    /// Kind `Kernel`.
    pub fn record(&self, stream: CUstream) -> Result<()> {
        // SAFETY: streams that are recorded on are never destroyed.
        check(unsafe { sys::cuEventRecord(self.0, stream) }, "stream")
    }

    /// Makes later work of a stream wait for it.
    ///
    /// # Errors
    /// Kind `Kernel`.
    pub fn hold_up(&self, stream: CUstream) -> Result<()> {
        // SAFETY: as above.
        check(unsafe { sys::cuStreamWaitEvent(stream, self.0, 0) }, "stream")
    }

    /// Waits for it.
    ///
    /// # Errors
    /// Kind `Kernel` if the device failed.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: the event is live.
        check(unsafe { sys::cuEventSynchronize(self.0) }, "synchronize")
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the driver frees an event that is waited for once that is over.
        unsafe { sys::cuEventDestroy_v2(self.0) };
    }
}

/// A stream that does not wait for the default one.
pub(crate) fn create_stream() -> Result<CUstream> {
    let mut stream = std::ptr::null_mut();
    let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint;
    // SAFETY: the pointer is to a local.
    check(unsafe { sys::cuStreamCreate(&mut stream, flags) }, "stream")?;
    Ok(stream)
}

/// Waits for all work of a stream.
pub(crate) fn synchronize(stream: CUstream) -> Result<()> {
    // SAFETY: streams are never destroyed.
    check(unsafe { sys::cuStreamSynchronize(stream) }, "synchronize")
}

/// Makes all later work of `waiter` wait for all work that `other` has now.
pub(crate) fn wait_for(waiter: CUstream, other: CUstream) -> Result<()> {
    let event = Event::new()?;
    event.record(other)?;
    event.hold_up(waiter)
}

/// Queues a copy from the host.
///
/// # Safety
/// `from` must be readable and `to` writable for `bytes`; pinned host memory must stay as it is
/// until the copy is done.
pub(crate) unsafe fn copy_in(
    to: CUdeviceptr,
    from: *const u8,
    bytes: usize,
    stream: CUstream,
) -> Result<()> {
    // SAFETY: the caller's promise.
    check(unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.cast(), bytes, stream) }, "upload")
}

/// Queues a copy to the host.
///
/// # Safety
/// `from` must be readable, and `to` writable, for `bytes` until the stream has been waited for.
pub(crate) unsafe fn copy_out(
    to: *mut u8,
    from: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> Result<()> {
    // SAFETY: the caller's promise.
    check(unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), from, bytes, stream) }, "download")
}

/// Queues a copy within a device.
///
/// # Safety
/// Both ranges must lie in live blocks and not overlap.
pub(crate) unsafe fn copy_within(
    to: CUdeviceptr,
    from: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> Result<()> {
    // SAFETY: the caller's promise.
    check(unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes, stream) }, "copy")
}

/// Queues filling a range with zeros.
///
/// # Safety
/// The range must lie in a live block.
pub(crate) unsafe fn fill_zero(to: CUdeviceptr, bytes: usize, stream: CUstream) -> Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    check(unsafe { sys::cuMemsetD8Async(to, 0, bytes, stream) }, "fill")
}

/// How many elements of two bytes lie side by side in a tile that the copy engine brings.
const TILE_COLUMNS: u32 = 64;

/// The map of an array of four axes for the copy engine, the innermost one first and contiguous:
/// elements of two bytes, strides in bytes, tiles of 64 columns and `rows` rows, with the swizzle of
/// 128 bytes.
///
/// # Errors
/// Kind `Kernel` if the driver refuses the strides.
pub(crate) fn tensor_map(
    at: CUdeviceptr,
    sizes: [u64; 4],
    strides: [u64; 3],
    rows: u32,
) -> Result<[u64; 16]> {
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    // SAFETY: the pointers are to locals of the sizes that the rank says.
    let code = unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut map,
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT16,
            4,
            at as *mut c_void,
            sizes.as_ptr(),
            strides.as_ptr(),
            [TILE_COLUMNS, rows, 1, 1].as_ptr(),
            [1, 1, 1, 1].as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    check(code, "tensor map")?;
    Ok(map.opaque)
}

/// The map of a contiguous array of four axes (channels, w, h, examples), from which the copy engine brings
/// the elements under one tap of a kernel for `pixels` places: 64 channels of two bytes each, with the
/// swizzle of 128 bytes. `corners` are those of the first patch, from the input's first element, and
/// of the last, from its last element; patches are `steps` apart (w first in all).
///
/// # Errors
/// Kind `Kernel` if the driver refuses the sizes.
pub(crate) fn patch_map(
    at: CUdeviceptr,
    sizes: [u64; 4],
    corners: [[i32; 2]; 2],
    steps: [u32; 2],
    pixels: u32,
) -> Result<[u64; 16]> {
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    let line = sizes[0] * 2;
    let strides = [line, line * sizes[1], line * sizes[1] * sizes[2]];
    // SAFETY: the pointers are to locals of the sizes that the rank says.
    let code = unsafe {
        sys::cuTensorMapEncodeIm2col(
            &mut map,
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT16,
            4,
            at as *mut c_void,
            sizes.as_ptr(),
            strides.as_ptr(),
            corners[0].as_ptr(),
            corners[1].as_ptr(),
            TILE_COLUMNS,
            pixels,
            [1, steps[0], steps[1], 1].as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    check(code, "patch map")?;
    Ok(map.opaque)
}

/// Waits for all work of the device, and fills a block with ones.
pub(crate) fn fill_ones(at: CUdeviceptr, bytes: usize) -> Result<()> {
    // SAFETY: a context is current.
    check(unsafe { sys::cuCtxSynchronize() }, "fill")?;
    // SAFETY: the caller owns the block, and nothing uses it now.
    check(unsafe { sys::cuMemsetD8_v2(at, 0xff, bytes) }, "fill")?;
    // SAFETY: as above.
    check(unsafe { sys::cuCtxSynchronize() }, "fill")
}

/// A kernel of a loaded module. Modules are never unloaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    function: CUfunction,
    /// True iff the kernel itself waits for those before it.
    early: bool,
}

// SAFETY: functions belong to a context, not to a thread.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

/// Loads machine code and finds kernels of it by name.
pub(crate) fn load_module(code: &[u8], names: &[&str]) -> Result<Vec<Kernel>> {
    let mut module = std::ptr::null_mut();
    // SAFETY: the code is a cubin, whose header says how long it is.
    check(unsafe { sys::cuModuleLoadData(&mut module, code.as_ptr().cast()) }, "module")?;
    let find = |name: &&str| {
        let name = CString::new(*name)
            .map_err(|_| Error::new(ErrorKind::Kernel, "module", "a kernel's name has a zero"))?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded, and the name ends with a zero.
        let code = unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) };
        check(code, "module")?;
        Ok(Kernel { function, early: false })
    };
    names.iter().map(find).collect()
}

/// Bytes of shared memory that a kernel gets without asking: 48 KiB with those that it declares itself.
const UNASKED_SHARED: usize = 40 << 10;

impl Kernel {
    /// The kernel, which begins while those before it run if `early` is set.
    pub fn begins_early(self, early: bool) -> Kernel {
        Kernel { early, ..self }
    }

    /// Makes launches with so many bytes of shared memory possible.
    ///
    /// # Errors
    /// Kind `Kernel` if the device has less.
    pub fn allow_shared(self, shared: usize) -> Result<()> {
        if shared <= UNASKED_SHARED {
            return Ok(());
        }
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is of a loaded module.
        check(
            unsafe { sys::cuFuncSetAttribute(self.function, attribute, shared as c_int) },
            "launch",
        )
    }

    /// Queues the kernel; it begins while those before it run if `early` is set, which a kernel must
    /// know of. That pays in graphs only: by itself such a launch takes the host longer, and 10,000 small
    /// ones took 1.3 times as long (H100).
    ///
    /// # Safety
    /// `args` must point to the values of the kernel's parameters, and what they point to on the
    /// device must be live and ordered on the stream.
    pub unsafe fn launch(
        self,
        grid: [u32; 3],
        block: [u32; 3],
        shared: usize,
        (stream, early): (CUstream, bool),
        args: &mut [*mut c_void],
    ) -> Result<()> {
        let (args, extra) = (args.as_mut_ptr(), std::ptr::null_mut());
        let (f, shared) = (self.function, shared as c_uint);
        if !(early && self.early) {
            let ([x, y, z], [bx, by, bz]) = (grid, block);
            // SAFETY: the caller's promise.
            let code =
                unsafe { sys::cuLaunchKernel(f, x, y, z, bx, by, bz, shared, stream, args, extra) };
            return check(code, "launch");
        }
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: grid[0],
            gridDimY: grid[1],
            gridDimZ: grid[2],
            blockDimX: block[0],
            blockDimY: block[1],
            blockDimZ: block[2],
            sharedMemBytes: shared,
            hStream: stream,
            attrs: &mut attribute,
            numAttrs: 1,
        };
        // SAFETY: the caller's promise; the driver copies the configuration.
        let code = unsafe { sys::cuLaunchKernelEx(&config, f, args, extra) };
        check(code, "launch")
    }
}

/// The beginning of a capture: a stream of its own, whose work is kept and not run. Calls on other
/// streams and threads are not concerned.
///
/// # Errors
/// Kind `Kernel` if the driver refuses.
pub(crate) fn begin_capture() -> Result<CUstream> {
    let stream = create_stream()?;
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
    // SAFETY: the stream was just made.
    let code = unsafe { sys::cuStreamBeginCapture_v2(stream, mode) };
    if code != sys::CUresult::CUDA_SUCCESS {
        // SAFETY: nobody else has the stream.
        unsafe { sys::cuStreamDestroy_v2(stream) };
    }
    check(code, "record")?;
    Ok(stream)
}

/// Kernels and copies, which the driver queues in one call.
pub(crate) struct Graph(sys::CUgraphExec);

// SAFETY: graphs belong to a context, not to a thread; a lock orders the calls.
unsafe impl Send for Graph {}
// SAFETY: as above.
unsafe impl Sync for Graph {}

impl Graph {
    /// What a stream of [`begin_capture`] captured; the stream goes.
    ///
    /// # Errors
    /// Kind `Kernel` if something was queued that cannot be captured.
    pub fn end_capture(stream: CUstream) -> Result<Graph> {
        let (mut graph, mut ready) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the stream captures, the pointers are to locals, and what the driver made is
        // destroyed once it is not needed any more.
        unsafe {
            let ended = sys::cuStreamEndCapture(stream, &mut graph);
            sys::cuStreamDestroy_v2(stream);
            check(ended, "record")?;
            let made = sys::cuGraphInstantiateWithFlags(&mut ready, graph, 0);
            sys::cuGraphDestroy(graph);
            check(made, "record")?;
        }
        Ok(Graph(ready))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: the handle is this graph's own; the driver keeps what it still runs.
        unsafe { sys::cuGraphExecDestroy(self.0) };
    }
}

/// Queues a graph.
///
/// # Errors
/// Kind `Kernel` if the driver refuses it.
pub(crate) fn launch_graph(graph: &Graph, stream: CUstream) -> Result<()> {
    // SAFETY: the graph was instantiated, and streams that are launched on are never destroyed.
    check(unsafe { sys::cuGraphLaunch(graph.0, stream) }, "replay")
}
