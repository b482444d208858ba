"""qmatmul_*_decode and qmatmul_*_prefill: one row and 512 rows of activations times block-quantised weights, on all
cores, against ggml, llama.cpp's own kernels. ggml is compiled (a minute) from the source that llama-cpp-python puts
on PyPI, for this processor; its AMX path is left out, which not every virtual machine that has the flag lets run."""

import glob
import os
import statistics
import subprocess
import tarfile

from harness import CORES, ROOT, Missing, Server, numeric_env

FORMATS = ("q8_0", "q4_0", "q4_1", "q6_k")
SHAPES = {"decode": (1, 4096, 4096), "prefill": (512, 4096, 4096)}
ROUNDS = 7
FLAGS = {"avx2": "AVX2 FMA F16C BMI2 AVX", "avx512bw": "AVX512", "avx512_vbmi": "AVX512_VBMI",
         "avx512_vnni": "AVX512_VNNI", "avx512_bf16": "AVX512_BF16", "avx_vnni": "AVX_VNNI"}


def cpu_flags():
    with open("/proc/cpuinfo") as f:
        return next((line.split() for line in f if line.startswith("flags")), [])


def run(*command):
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def build(bench):
    """The peer's program, compiled on demand in BUILD/peers."""
    home = os.path.join(bench.build, "peers", "ggml")
    program = os.path.join(home, "peer_ggml")
    if os.path.exists(program):
        return program
    python = bench.python("pip")
    os.makedirs(home, exist_ok=True)
    try:
        print(f"compiling ggml in {home}", flush=True)
        if not glob.glob(home + "/*.tar.gz"):
            run(python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python",
                "llama-cpp-python", "-d", home)
        with tarfile.open(glob.glob(home + "/*.tar.gz")[0]) as tar:
            tar.extractall(home, [m for m in tar.getmembers() if "/vendor/llama.cpp/ggml/" in m.name], filter="data")
        source = glob.glob(home + "/*/vendor/llama.cpp/ggml")[0]
        open(os.path.join(source, "ggml.pc.in"), "a").close()  # which the package lacks
        on = [f"-DGGML_{f}=ON" for flag in cpu_flags() for f in FLAGS.get(flag, "").split()]
        run("cmake", "-S", source, "-B", home + "/b", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=OFF",
            "-DGGML_LLAMAFILE=ON", "-DGGML_STANDALONE=OFF", "-DGGML_BUILD_TESTS=OFF", "-DGGML_BUILD_EXAMPLES=OFF", *on)
        run("ninja", "-C", home + "/b")
        run("cc", "-O2", "-I", source + "/include", os.path.join(ROOT, "bench", "peer_ggml.c"), "-o", program,
            "-L", home + "/b/src", "-lggml", "-lggml-base", "-lggml-cpu", "-Wl,-rpath," + home + "/b/src")
    except (subprocess.CalledProcessError, OSError, IndexError) as e:
        detail = (getattr(e, "stderr", b"") or b"").decode(errors="replace").strip()[-200:]
        raise Missing(f"peer ggml is not to be had: {detail or e}") from e
    return program


def measure(bench, what):
    m, n, k = SHAPES[what]
    with Server(build(bench), str(CORES), env=numeric_env(CORES)) as peer, \
            Server(bench.program("bench_quant"), "--threads", str(CORES)) as us:
        for f in FORMATS:
            pairs = [(float(us.ask(f"{f} {m} {n} {k}")), float(peer.ask(f"{f} {m} {n} {k}"))) for _ in range(ROUNDS)]
            rates = [[2.0 * m * n * k / s * 1e-9 for s in side] for side in zip(*pairs)]
            bench.ratio(f"qmatmul_{f}_{what}", *rates, "ggml (llama.cpp)", f"GFLOP/s, {m} x {n} x {k}", 1.0)
            print(f"  qmatmul_{f}_{what}: {statistics.median(rates[0]):7.1f} GFLOP/s, "
                  f"{statistics.median(a / b for a, b in zip(*rates)):5.2f} of ggml", flush=True)
