"""Runs `tests/airflow` with Airflow's own Python: its libraries and the stack's do not fit into one environment."""

import subprocess

from infra.local.place import REPO, layout_of


def test_every_dag_is_whole_and_gives_commands_that_the_product_takes() -> None:
    python = layout_of().airflow_python
    assert python.exists(), "Airflow is not installed; type: infra/local/setup.sh airflow"
    # Its settings are its own: the checkout's turn Airflow's deprecations into errors and import what is not there.
    own = ["-c", "/dev/null", f"--rootdir={REPO}", "--confcutdir=tests/airflow", "--import-mode=importlib"]
    done = subprocess.run(
        [python, "-m", "pytest", *own, "-q", "-p", "no:cacheprovider", "-W", "ignore", "tests/airflow"],
        cwd=REPO, capture_output=True, text=True, check=False, timeout=590,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
