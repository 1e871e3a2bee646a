"""Compiled programs are kept on disk, so that a second start of the same training is quick."""

import hashlib
import platform
from pathlib import Path

import jax


def use_compilation_cache(folder: Path | None = None) -> Path | None:
    """Turns jax's persistent compilation cache on, and returns its folder, None where it stays off.

    The folder is that which the user has named already (JAX_COMPILATION_CACHE_DIR, or the setting
    jax_compilation_cache_dir), else `folder`, by default one below ~/.cache/nanojaxlm for this kind
    of processor: jax's key of a program for CPUs leaves their instruction sets out, and a home may
    be shared by unlike machines. JAX_ENABLE_COMPILATION_CACHE=false turns it off. Entries are the
    programs that took a second or more to compile; of several processes the first writes them.
    Nothing is ever deleted. A folder that cannot be written is left alone: a cache is no reason to
    fail.
    """
    settings = jax.config.values
    if not settings["jax_enable_compilation_cache"]:
        return None
    if settings["jax_compilation_cache_dir"]:
        return Path(settings["jax_compilation_cache_dir"])
    try:
        folder = folder or Path.home() / ".cache" / "nanojaxlm" / f"compiled-{_processor()}"
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
    except (OSError, RuntimeError):  # no home, or one that is read-only or full
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def _processor() -> str:
    """Eight hexadecimal digits that tell kinds of processors, by their instruction sets, apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:8]
