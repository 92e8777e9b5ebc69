"""Of a failing job's long answer the few lines that say why are kept."""

from infra.local import failure

# As Flink 2.3.0 answers for a Python function that raised, shortened.
_STACKTRACE = """\
org.apache.flink.runtime.taskmanager.AsynchronousException: Caught exception while processing timer.
\tat org.apache.flink.streaming.runtime.tasks.StreamTask$Handler.handle(StreamTask.java:1600)
\tat org.apache.flink.streaming.runtime.tasks.StreamTask.handleAsyncException(StreamTask.java:1575)
\t... 14 more
Caused by: TimerException{java.lang.RuntimeException: one of several}
\t... 12 more
Caused by: pemja.core.PythonException: <class 'ValueError'>: book of 0 prices; a complete one would be right
\tat /opt/tokenledger/flink_jobs/operators.py.open(operators.py:42)
\tat <string>.<module>(<string>:1)
\tat pemja.core.PythonInterpreter.invokeMethod(PythonInterpreter.java:1)
\t... 20 more
"""


def test_the_innermost_cause_and_its_lines_of_python_are_told() -> None:
    assert failure.root(_STACKTRACE) == (
        "pemja.core.PythonException: <class 'ValueError'>: book of 0 prices; a complete one would be right",
        "at /opt/tokenledger/flink_jobs/operators.py.open(operators.py:42)",
    )


def test_a_failure_without_cause_is_its_own() -> None:
    assert failure.root("java.lang.OutOfMemoryError: Java heap space\n\tat a.B.c(B.java:1)\n") == (
        "java.lang.OutOfMemoryError: Java heap space",
    )


def test_the_newest_of_several_failures_is_told_with_its_task() -> None:
    entries = [
        {"timestamp": 1, "stacktrace": "first\n", "taskName": None},
        {"timestamp": 2, "stacktrace": "second\n", "taskName": "Source: raw -> price (1/1)"},
    ]
    found = failure.newest_of("RESTARTING", {"exceptionHistory": {"entries": entries, "truncated": False}})
    assert found == (2, "RESTARTING", "Source: raw -> price (1/1)", ("second",))
    assert str(found) == "  second"


def test_a_job_that_never_failed_and_a_jobmanager_that_is_silent_have_nothing_to_tell() -> None:
    assert failure.newest_of("RUNNING", {"exceptionHistory": {"entries": [], "truncated": False}}) is None
    assert failure.newest_of("RUNNING", {}) is None
