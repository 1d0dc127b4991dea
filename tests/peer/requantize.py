"""A model's matrices in another block format, by llama.cpp's own quantizers (libggml-base's ggml_quantize_chunk): files
of the formats that exo reads but does not write.
"""
import ctypes
import pathlib
import struct
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import reference  # noqa: E402

# Name: (number in files, values of a block, its bytes).
FORMATS = {"Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110),
           "IQ4_NL": (20, 32, 18), "IQ4_XS": (23, 256, 136), "MXFP4": (39, 32, 17), "IQ2_XXS": (16, 256, 66),
           "IQ2_XS": (17, 256, 74), "IQ3_XXS": (18, 256, 98), "IQ1_S": (19, 256, 50), "IQ3_S": (21, 256, 110),
           "IQ2_S": (22, 256, 82), "IQ1_M": (29, 256, 56), "TQ1_0": (34, 256, 54), "TQ2_0": (35, 256, 66)}
# Perplexities may differ by this part where a model that was not trained for a format hardly survives it (in the
# hundreds for IQ1_M, in the thousands for the ternary ones): rounding then decides more.
TOLERANCES = {"IQ1_M": 0.02, "TQ1_0": 0.05, "TQ2_0": 0.05}
F32 = 0


def quantize(library, name, x):
    """Rows of float32 as bytes of the format."""
    number, values, size = FORMATS[name]
    rows, cols = x.shape
    out = np.zeros(x.size // values * size, np.uint8)
    x = np.ascontiguousarray(x, np.float32)
    library.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    equal = np.ones(cols, np.float32)  # some formats insist on importances
    importance = equal.ctypes.data_as(ctypes.c_void_p) if library.ggml_quantize_requires_imatrix(number) else None
    written = library.ggml_quantize_chunk(number, x.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p),
                                          ctypes.c_int64(0), ctypes.c_int64(rows), ctypes.c_int64(cols), importance)
    assert written == out.size, f"{name}: {written} bytes instead of {out.size}"
    return out.tobytes()


def metadata(path):
    """The bytes of a file's metadata and the number of its fields."""
    data = pathlib.Path(path).read_bytes()
    reader = reference.Reader(data)
    reader.at = 16
    fields = reader.take("<Q")
    for _ in range(fields):
        reader.string()
        reader.value(reader.take("<I"))
    return data[24:reader.at], fields


def write(library_path, model, out, name):
    """Writes `model` to `out`: matrices whose rows are whole blocks in format `name`, everything else as float32."""
    library = ctypes.CDLL(str(library_path))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    number, values, _ = FORMATS[name]
    gguf = reference.Gguf(str(model))
    fields, count = metadata(model)
    infos, body, changed = b"", b"", 0
    for tensor, (_, _, shape, _) in gguf.where.items():
        x = gguf.tensor(tensor).astype(np.float32)
        fits = len(shape) == 2 and shape[1] % values == 0
        data = quantize(library, name, x) if fits else x.tobytes()
        changed += fits
        label = tensor.encode()
        infos += struct.pack("<Q", len(label)) + label + struct.pack(
            f"<I{len(shape)}QIQ", len(shape), *shape[::-1], number if fits else F32, len(body))
        body += data + bytes(-len(data) % 32)
    assert changed, f"no matrix of {model} has rows of {values}"
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(gguf.where), count) + fields + infos
    pathlib.Path(out).write_bytes(head + bytes(-len(head) % 32) + body)
