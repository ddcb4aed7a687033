"""Writes the fixtures beside this file with the packages that own the formats.

    pip install numpy==2.4.6 safetensors==0.8.0 gguf==0.19.0 ml_dtypes==0.6.0 'mlx[cpu]==0.32.4'
    python make.py

Every file holds arrays whose name says what they are: `DTYPE_ORDER` is `(2, 3)` of 0 to 5, of
which bools are the truth and complex numbers have the imaginary part `-x`.
"""

import pathlib

import gguf
import ml_dtypes
import mlx.core as mx
import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
]


def sample(name):
    x = np.arange(6).reshape(2, 3)
    if name == "bfloat16":
        return x.astype(ml_dtypes.bfloat16)
    return (x - 1j * x if name == "complex64" else x).astype(name)


def npz():
    arrays = {}
    for name in DTYPES:
        x = sample(name)
        arrays[f"{name}_c"] = x.view("V2") if name == "bfloat16" else x
        if name != "bfloat16":
            arrays[f"{name}_f"] = np.asfortranarray(x)
            arrays[f"{name}_big"] = x.astype(x.dtype.newbyteorder(">"))
    np.savez(HERE / "stored.npz", **{k: v for k, v in arrays.items() if k.startswith("uint16")})
    np.savez_compressed(HERE / "deflated.npz", **arrays)
    mx.savez(
        str(HERE / "mlx.npz"),
        bfloat16_c=mx.arange(6).reshape(2, 3).astype(mx.bfloat16),
        float32_f=mx.array([0.0, 3.0, 1.0, 4.0, 2.0, 5.0]).reshape(3, 2).T,
    )
    np.save(HERE / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(HERE / "records.npy", np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]))
    with open(HERE / "int16_c.npy", "wb") as f:
        np.lib.format.write_array(f, sample("int16"), version=(2, 0))


def safetensors():
    arrays = {f"{name}_c": sample(name) for name in DTYPES}
    save_file(arrays, HERE / "all.safetensors", {"made": "by safetensors"})
    mx.save_safetensors(
        str(HERE / "mlx.safetensors"),
        {
            "bfloat16_c": mx.arange(6).reshape(2, 3).astype(mx.bfloat16),
            "bool_c": mx.arange(6).reshape(2, 3).astype(mx.bool_),
        },
        {"made": "by mlx"},
    )


def quantised(rng, name):
    kind = gguf.GGMLQuantizationType[name]
    length, size = gguf.GGML_QUANT_SIZES[kind]
    rows, blocks = (2, 2) if length == 32 else (1, 1)
    raw = rng.integers(0, 256, (rows, blocks, size), dtype=np.uint8)
    # Random bytes everywhere but in the scales, which must not be infinite or NaN.
    places = {
        "Q2_K": [80, 82],
        "Q3_K": [108],
        "Q6_K": [208],
        "Q4_1": [0, 2],
        "Q5_1": [0, 2],
        "Q4_K": [0, 2],
        "Q5_K": [0, 2],
        "TQ1_0": [52],
    }
    for at in places.get(name, [0]):
        scale = rng.normal(0, 0.1, (rows, blocks, 1)).astype(np.float16)
        raw[..., at : at + 2] = scale.view(np.uint8)
    return kind, raw.reshape(rows, -1)


def singles():
    """What the package makes of every type of `all.gguf` that is kept quantised, in float32."""
    values = {}
    for tensor in gguf.GGUFReader(HERE / "all.gguf").tensors:
        if tensor.name.endswith(".weight") and not tensor.name.startswith(("IQ", "TQ")):
            values[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    save_file(values, HERE / "gguf_single.safetensors")


def ggufs():
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(HERE / "all.gguf", "test")
    affine = gguf.GGUFWriter(HERE / "affine.tmp.gguf", "test")
    writer.add_uint8("u8", 200)
    writer.add_int8("i8", -100)
    writer.add_uint16("u16", 60000)
    writer.add_int16("i16", -30000)
    writer.add_uint32("u32", 1 << 31)
    writer.add_int32("i32", -1 << 31)
    writer.add_uint64("u64", 1 << 63)
    writer.add_int64("i64", -1 << 63)
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.1)
    writer.add_bool("bool", True)
    writer.add_string("string", "h\u00e9")
    writer.add_array("ints", [1, -2, 3])
    writer.add_array("strings", ["a", "", "bc"])
    writer.add_array("nested", [[1, 2], [3]])
    for name, tensor in [
        ("float32", "F32"),
        ("float16", "F16"),
        ("float64", "F64"),
        ("int8", "I8"),
        ("int16", "I16"),
        ("int32", "I32"),
        ("int64", "I64"),
    ]:
        writer.add_tensor(f"{name}_c", sample(name))
    writer.add_tensor(
        "bfloat16_c", sample("bfloat16").view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16
    )
    expected = {}
    for name in ["Q4_0", "Q4_1", "Q8_0"]:
        kind, raw = quantised(rng, name)
        writer.add_tensor(f"{name}.weight", raw, raw_dtype=kind)
        affine.add_tensor(f"{name}.weight", raw, raw_dtype=kind)
    for name in ["Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]:
        kind, raw = quantised(rng, name)
        writer.add_tensor(f"{name}.weight", raw, raw_dtype=kind)
        values = gguf.quants.dequantize(raw, kind)
        expected[f"{name}.weight"] = values.astype(np.float32).astype(np.float16)
    for file in [writer, affine]:
        file.write_header_to_file()
        file.write_kv_data_to_file()
        file.write_tensors_to_file()
        file.close()
    unsupported = gguf.GGUFWriter(HERE / "unsupported.gguf", "test")
    kind, raw = quantised(rng, "TQ1_0")
    unsupported.add_tensor("TQ1_0.weight", raw, raw_dtype=kind)
    unsupported.add_tensor("float32_c", sample("float32"))
    unsupported.write_header_to_file()
    unsupported.write_kv_data_to_file()
    unsupported.write_tensors_to_file()
    unsupported.close()
    # MLX's own reading of the types that it keeps quantised.
    read = mx.load(str(HERE / "affine.tmp.gguf"))
    expected.update({name: np.array(array) for name, array in read.items()})
    (HERE / "affine.tmp.gguf").unlink()
    save_file(expected, HERE / "gguf_expected.safetensors")


npz()
safetensors()
ggufs()
singles()
