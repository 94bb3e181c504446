"""Archives: files of files. They hold no text of their own, so they are refused and not tokenized as bytes."""

_SUFFIXES = (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst", ".zip", ".7z", ".rar")
_COMPRESSED_TAR = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4", ".tar.z")
_SIGNATURES = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar"}
_TAR_AT, _TARS = 257, (b"ustar\0", b"ustar  \0")
_COMPRESSIONS = {b"\x1f\x8b\x08": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"\xfd7zXZ\0": ".xz", b"BZh91AY&SY": ".bz2"}
UNPACK = "is an archive, which is no text: unpack it, and give the folder"


def is_archive(name: str) -> bool:
    """Whether a file is an archive by its name."""
    return name.lower().endswith(_SUFFIXES + _COMPRESSED_TAR)


def no_text(start: bytes) -> str | None:
    """What a file is that begins so, if that is an archive or compressed, and what to do; None for all else."""
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            return f"{UNPACK} (it begins as {kind} does)"
    if start.startswith(_TARS, _TAR_AT):
        return f"{UNPACK} (it is a tar)"
    for signature, suffix in _COMPRESSIONS.items():
        if start.startswith(signature):
            return f"is compressed: give it a name that ends in {suffix}, and it is read"
    return None
