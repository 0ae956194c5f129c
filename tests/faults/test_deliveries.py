"""Job messages that reach several processes at once, and batches. The simulation covers late and reordered ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from case import GENERATE_SECONDS, Bench, Case, is_done

AT_ONCE = 5
BATCH = 10


def test_message_delivered_concurrently_is_processed_once(bench: Bench) -> None:
    with Case(bench) as case:
        job = launched(case)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            outcomes = list(threads.map(case.invoke_generator, [[job]] * AT_ONCE))
        assert all(is_done(outcome) for outcome in outcomes)
        assert statuses(case) == ["READY"]
        assert case.records()[0]["fencingToken"]["N"] == "1"
        assert_done_once(case)


def test_malformed_message_of_a_batch_fails_alone(bench: Bench) -> None:
    with Case(bench) as first:
        others = [Case(bench, beside=first) for _ in range(BATCH - 2)]
        cases = [first, *others]
        bodies = [launched(case) for case in cases]
        bodies.insert(BATCH // 2, "not JSON")
        first.generate_seconds = 2 * GENERATE_SECONDS
        outcome = first.invoke_generator(bodies)
        assert outcome.response == {"batchItemFailures": [{"itemIdentifier": f"message-{BATCH // 2}"}]}
        for case in cases:
            assert statuses(case) == ["READY"]
            assert len(case.records()) == 1
        assert first.ready_mails() == BATCH - 1


def test_checker_detects_a_missing_mail_and_a_wrong_file(bench: Bench) -> None:
    with Case(bench) as case:
        launched(case)
        case.settle()
        assert case.violations() == []
        sent, case.mails_by_process = case.mails_by_process, []
        assert any("ReadyWasMailed" in violation for violation in case.violations()), case.violations()
        case.mails_by_process = sent
        (key,) = case.objects()
        bench.s3.put_object(Bucket=bench.stack.bucket, Key=key, Body=b"truncated")
        assert any("FileIsComplete" in violation for violation in case.violations()), case.violations()


def launched(case: Case) -> str:
    """Launches an export, drops its job message and returns it."""
    assert case.post() == 202
    case.drop_messages()
    return case.job(case.accepted[-1])


def statuses(case: Case) -> list[str]:
    return [record["status"]["S"] for record in case.records()]


def assert_done_once(case: Case) -> None:
    assert len(case.objects()) == 1
    assert case.ready_mails() == 1
    assert case.violations() == []
