"""How long a submission may take."""

from infra.local.submitter import patience_s


def test_a_submission_that_was_cut_off_gets_twice_the_time_and_one_that_ended_the_usual() -> None:
    assert [patience_s(240, ended=False), patience_s(480, ended=False), patience_s(1_920, ended=False)] == [
        480,
        960,
        1_920,
    ]
    assert patience_s(960, ended=True) == 240
