"""Which format a model file has, by its content. A lock is written without torch and the like.

Nothing here decides whether a file is safe: each backend looks again, with its own reader.
"""

from pathlib import Path, PurePosixPath

HEAD_BYTES = 512
TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
TAR = slice(257, 262)
# gzip, bzip2, xz, LZ4, and zlib in its levels: joblib compresses with any of them.
COMPRESSED = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x04\x22M\x18",
    b"x\x01",
    b"x^",
    b"x\x9c",
    b"x\xda",
)

# For what is chosen before a file is there, by the end of its name.
SUFFIXES = {
    ".torch": "torch",
    ".pt": "torch",
    ".pth": "torch",
    ".jit": "torch",
    ".pt2": "pt2",
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".skops": "skops",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".txt": "lightgbm",
    ".lgb": "lightgbm",
    ".joblib": "pickle",
    ".pkl": "pickle",
    ".pickle": "pickle",
}


def format_of(path: Path) -> str:
    """One of torchscript, torch, torch-legacy, pt2, safetensors, onnx, skops, xgboost, lightgbm,
    pickle (also joblib's, compressed or not) and unknown.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if head.startswith(TORCH_LEGACY) or head[TAR] == b"ustar":
        return "torch-legacy"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return "safetensors"
    if head.startswith(b"tree\n"):
        return "lightgbm"
    if head[:1] == b"{":
        return "xgboost"
    if head[:1] == b"\x80" or head.startswith(COMPRESSED):
        return "pickle"
    # ir_version, the first field of a ModelProto, is a small number.
    if head[:1] == b"\x08" and len(head) > 2 and head[1] < 64:
        return "onnx"
    return "unknown"


def _archive(path: Path) -> str:
    import zipfile  # which a model of another kind need not pay for

    try:
        with zipfile.ZipFile(path) as archive:
            names = {PurePosixPath(name.lower()).name for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "unknown"
    # The first that fits: a program of TorchScript has a data.pkl as well.
    marks = {
        "constants.pkl": "torchscript",
        "archive_format": "pt2",
        "data.pkl": "torch",
        "schema.json": "skops",
    }
    return next((found for name, found in marks.items() if name in names), "unknown")
