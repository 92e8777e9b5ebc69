"""Runs every figure's script, one after the other, and prints what belongs into RESULTS.md."""

import subprocess
import sys

# In this order: library alone, files, ledger alone, then what needs the whole stack.
SCRIPTS = (
    "process_cpu",
    "price_files",
    "writer_vs_copy",
    "reprice",
    "feature_reader",
    "lake",
    "router",
    "cascade",
    "decide",
    "job_vs_identity",
    "end_to_end",
    "windows",
    "feature_freshness",
    "gateway",
    "datasets",
    "airflow_trigger",
)


def main() -> int:
    """Run them all; the exit status is the number that failed."""
    failed = 0
    for script in SCRIPTS:
        print(f"\n## {script}\n", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"benchmarks.{script}"], check=False).returncode != 0
    ran = len(SCRIPTS) - failed
    print(f"\n{ran} of {len(SCRIPTS)} scripts ran; what changed belongs into benchmarks/RESULTS.md")
    return failed


if __name__ == "__main__":
    sys.exit(main())
