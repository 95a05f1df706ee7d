from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest
from google.protobuf import text_format

from serving.calls import batching
from serving.calls.batching import BatchingParameters, BatchingRunner, DirectRunner
from serving.calls.inference import Invocation
from serving.protocol import messages
from serving.protocol.codes import Code, StatusError
from serving.protocol.metrics import Metrics


class Doubler:
    """Stands in for a servable: doubles x, refuses negative numbers, remembers the batches."""

    name = "doubler"

    def __init__(self, independent_rows: bool = False):
        self.independent_rows = independent_rows
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def run(self, inputs, outputs):
        self.entered.set()
        self.gate.wait(10)
        x = inputs["x"]
        self.batches.append(len(x))
        if (x < 0).any():
            raise StatusError(Code.INVALID_ARGUMENT, "negative")
        return [x * 2 for _ in outputs]


def invocation(servable, *values: float, width: int = 1) -> Invocation:
    array = np.repeat(np.array(values, np.float32).reshape(-1, 1), width, axis=1)
    return Invocation(servable, "s", {"x": array}, ("y",))


async def until(condition) -> None:
    async def poll():
        while not condition():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(poll(), 10)


def parameters(**values) -> BatchingParameters:
    return BatchingParameters.model_validate({"num_batch_threads": 1, **values})


def gather(runner, invocations) -> list:
    async def main():
        futures = [runner.submit(item) for item in invocations]
        return await asyncio.gather(*futures, return_exceptions=True)

    try:
        return asyncio.run(main())
    finally:
        runner.close()


@pytest.mark.parametrize(
    "runner",
    [
        lambda: DirectRunner(2, 100, Metrics()),
        lambda: BatchingRunner(parameters(max_batch_size=4), Metrics()),
        lambda: BatchingRunner(
            parameters(max_batch_size=8, allowed_batch_sizes=(2, 8), num_batch_threads=2), Metrics()
        ),
    ],
)
def test_equal_results_with_and_without_batching(runner):
    servable = Doubler()
    sizes = [1, 3, 2, 1, 4, 1]
    answers = gather(runner(), [invocation(servable, *range(size)) for size in sizes])
    for size, [answer] in zip(sizes, answers, strict=True):
        np.testing.assert_array_equal(answer.ravel(), np.arange(size) * 2)


def test_concurrent_calls_share_a_batch():
    servable = Doubler()
    runner = BatchingRunner(parameters(max_batch_size=16, batch_timeout_micros=200_000), Metrics())
    gather(runner, [invocation(servable, n) for n in range(16)])
    assert servable.batches == [16]


def test_a_batch_that_is_not_full_leaves_after_the_timeout():
    servable = Doubler()
    runner = BatchingRunner(parameters(max_batch_size=16, batch_timeout_micros=20_000), Metrics())
    assert len(gather(runner, [invocation(servable, n) for n in range(5)])) == 5
    assert servable.batches == [5]


def test_a_batch_that_is_not_full_grows_while_the_cpus_are_busy(monkeypatch):
    monkeypatch.setattr(batching, "_BESIDE", 1)
    monkeypatch.setattr(batching, "_PATIENCE", 60)
    servable = Doubler()
    servable.gate.clear()
    runner = BatchingRunner(parameters(max_batch_size=4, num_batch_threads=3), Metrics())

    async def main():
        futures = [runner.submit(invocation(servable, 1))]
        await asyncio.sleep(0.1)  # computed from now on
        for number in range(3):
            futures.append(runner.submit(invocation(servable, number)))
            await asyncio.sleep(0.05)
        assert servable.batches == []
        servable.gate.set()
        await asyncio.gather(*futures)
        assert servable.batches == [1, 3]
        servable.gate.clear()
        servable.batches.clear()
        # One that is full does not wait for the one that is computed.
        futures = [runner.submit(invocation(servable, 1))]
        await asyncio.sleep(0.1)
        futures += [runner.submit(invocation(servable, *range(4)))]
        await asyncio.sleep(0.1)
        assert runner._computing == 2
        servable.gate.set()
        await asyncio.gather(*futures)

    asyncio.run(main())
    runner.close()


def test_a_batch_that_is_not_full_does_not_wait_for_ever_for_the_cpus():
    queue = batching._Queue()
    loop = asyncio.new_event_loop()
    task = batching._Task(invocation(Doubler(), 1), 1, loop.create_future(), loop, enqueued=100)
    loop.close()
    queue.batches[0].tasks.append(task)
    queue.batches[0].rows = 1
    settings = parameters(max_batch_size=4, batch_timeout_micros=2_000_000)
    assert queue.due(settings, busy=False) == 102
    assert queue.due(settings, busy=True) == pytest.approx(102 + batching._PATIENCE)


def test_one_call_is_computed_beside_others_without_end(monkeypatch):
    """One thread is held for ever; the other has nothing to do, then full batches of another shape
    without a pause."""
    monkeypatch.setattr(batching, "_BESIDE", 1)
    monkeypatch.setattr(batching, "_PATIENCE", 0.05)
    held, servable = Doubler(), Doubler()
    held.gate.clear()
    runner = BatchingRunner(parameters(max_batch_size=4, num_batch_threads=2), Metrics())

    async def load():
        while True:
            await runner.submit(invocation(servable, *range(4), width=2))

    async def one():
        [answer] = await asyncio.wait_for(runner.submit(invocation(servable, 21)), 5)
        assert answer.item() == 42

    async def main():
        clients = []
        running = runner.submit(invocation(held, *range(4)))
        try:
            await until(held.entered.is_set)
            await one()
            clients += [asyncio.create_task(load()) for _ in range(3)]
            await until(lambda: len(servable.batches) >= 4)
            await one()
            computed = len(servable.batches)
            await until(lambda: len(servable.batches) >= computed + 3)
            assert not running.done()
            assert not any(client.done() for client in clients)
        finally:
            held.gate.set()
            for client in clients:
                client.cancel()
        await running

    asyncio.run(main())
    runner.close()


def test_a_queue_that_was_served_comes_after_one_that_waits(monkeypatch):
    monkeypatch.setattr(batching, "_BESIDE", 1)
    monkeypatch.setattr(batching, "_PATIENCE", 0.02)
    servable = Doubler()
    servable.gate.clear()
    runner = BatchingRunner(parameters(max_batch_size=4), Metrics())

    async def main():
        futures = [runner.submit(invocation(servable, *range(4))) for _ in range(3)]
        await until(servable.entered.is_set)  # the one thread has the first
        futures.append(runner.submit(invocation(servable, 1, width=2)))
        await asyncio.sleep(0.05)
        # As a second thread would. Each queue has its turn, however much waits in the other.
        assert [[task.rows for task in runner._take()] for _ in range(2)] == [[4], [1]]
        for future in futures:
            future.cancel()

    try:
        asyncio.run(main())
    finally:
        servable.gate.set()
        runner.close()


def test_batches_are_padded_to_the_allowed_sizes():
    servable = Doubler()
    settings = parameters(max_batch_size=8, allowed_batch_sizes=(4, 8), batch_timeout_micros=50_000)
    answers = gather(BatchingRunner(settings, Metrics()), [invocation(servable, 1, 2, 3)])
    assert servable.batches == [4]
    np.testing.assert_array_equal(answers[0][0].ravel(), [2, 4, 6])


def test_an_error_stays_with_its_request():
    servable = Doubler()
    runner = BatchingRunner(parameters(max_batch_size=4, batch_timeout_micros=200_000), Metrics())
    first, wrong, third, fourth = gather(runner, [invocation(servable, n) for n in (1, -1, 3, 4)])
    assert isinstance(wrong, StatusError)
    assert [answer[0].item() for answer in (first, third, fourth)] == [2, 6, 8]


def test_unlike_shapes_do_not_share_a_batch():
    servable = Doubler()
    runner = BatchingRunner(parameters(max_batch_size=4, batch_timeout_micros=20_000), Metrics())
    answers = gather(runner, [invocation(servable, 1, width=w) for w in (1, 2, 1, 2)])
    assert [answer[0].shape for answer in answers] == [(1, 1), (1, 2), (1, 1), (1, 2)]
    assert sorted(servable.batches) == [2, 2]


def test_an_empty_request_is_answered():
    runner = BatchingRunner(parameters(max_batch_size=4, allowed_batch_sizes=(4,)), Metrics())
    [[answer]] = gather(runner, [invocation(Doubler())])
    assert answer.shape == (0, 1)


def test_a_full_queue_refuses():
    servable = Doubler()
    servable.gate.clear()
    runner = BatchingRunner(parameters(max_batch_size=1, max_enqueued_batches=2), Metrics())

    async def main():
        running = runner.submit(invocation(servable, 0))
        while runner._queues:  # until the one thread has taken it
            await asyncio.sleep(0.001)
        waiting = [runner.submit(invocation(servable, n)) for n in (1, 2)]
        with pytest.raises(
            StatusError, match="queue to which this task was submitted is full"
        ) as e:
            runner.submit(invocation(servable, 3))
        assert e.value.code == Code.UNAVAILABLE
        servable.gate.set()
        return await asyncio.gather(running, *waiting)

    assert [answer[0].item() for answer in asyncio.run(main())] == [0, 2, 4]
    runner.close()


def test_a_request_larger_than_a_batch():
    servable = Doubler()
    runner = BatchingRunner(parameters(max_batch_size=4), Metrics())

    async def main():
        runner.submit(invocation(servable, *range(5)))

    with pytest.raises(StatusError, match="Task size 5 is larger than maximum input batch size 4"):
        asyncio.run(main())
    runner.close()

    split = parameters(
        max_batch_size=10, enable_large_batch_splitting=True, max_execution_batch_size=4
    )
    [[answer]] = gather(BatchingRunner(split, Metrics()), [invocation(servable, *range(10))])
    np.testing.assert_array_equal(answer.ravel(), np.arange(10) * 2)
    assert max(servable.batches) == 4


def test_a_request_larger_than_a_batch_is_taken_as_a_whole_or_refused():
    servable = Doubler()
    servable.gate.clear()
    settings = parameters(
        max_batch_size=100,
        enable_large_batch_splitting=True,
        max_execution_batch_size=4,
        max_enqueued_batches=3,
    )
    runner = BatchingRunner(settings, Metrics())

    async def main():
        running = runner.submit(invocation(servable, 1))
        await until(servable.entered.is_set)  # the one thread has it
        with pytest.raises(StatusError, match="is full") as raised:
            runner.submit(invocation(servable, *range(13)))
        assert raised.value.code == Code.UNAVAILABLE
        assert not runner._queues
        accepted = [runner.submit(invocation(servable, 2))]
        with pytest.raises(StatusError, match="is full"):
            runner.submit(invocation(servable, *range(9)))
        accepted.append(runner.submit(invocation(servable, *range(8))))
        servable.gate.set()
        await asyncio.gather(running, *accepted)

    asyncio.run(main())
    runner.close()
    assert servable.batches == [1, 1, 4, 4]


def test_of_a_split_request_nothing_is_computed_once_it_has_ended():
    servable = Doubler()
    servable.gate.clear()
    settings = parameters(
        max_batch_size=100, enable_large_batch_splitting=True, max_execution_batch_size=4
    )
    runner = BatchingRunner(settings, Metrics())

    async def main():
        running = runner.submit(invocation(servable, 1))
        await until(servable.entered.is_set)  # the one thread has it
        runner.submit(invocation(servable, *range(12))).cancel()  # before its first step
        started = runner.submit(invocation(servable, *range(12)))
        await asyncio.sleep(0.01)
        started.cancel()
        await asyncio.sleep(0.01)
        assert not runner._queues
        servable.gate.set()
        await running

    asyncio.run(main())
    runner.close()
    assert servable.batches == [1]


def test_inputs_must_have_one_batch_size():
    runner = BatchingRunner(parameters(), Metrics())

    async def submit(inputs):
        runner.submit(Invocation(Doubler(), "s", inputs, ("y",)))

    with pytest.raises(StatusError, match="must have at least one dimension"):
        asyncio.run(submit({"x": np.float32(1)}))
    with pytest.raises(StatusError, match="must have equal 0th-dimension size"):
        asyncio.run(submit({"x": np.zeros(1), "y": np.zeros(2)}))
    runner.close()


def test_a_call_nobody_waits_for_is_not_computed():
    servable = Doubler()
    servable.gate.clear()
    for runner in (
        BatchingRunner(parameters(max_batch_size=1), Metrics()),
        DirectRunner(1, 10, Metrics()),
    ):

        async def main(runner=runner):
            running = runner.submit(invocation(servable, 1))
            await asyncio.sleep(0.02)
            gone = runner.submit(invocation(servable, 2))
            gone.cancel()
            servable.gate.set()
            await running
            await asyncio.sleep(0.02)

        asyncio.run(main())
        runner.close()
        assert servable.batches == [1]
        servable.batches.clear()
        servable.gate.clear()


@pytest.mark.parametrize(
    "runner",
    [
        lambda: DirectRunner(1, 8, Metrics()),
        lambda: BatchingRunner(parameters(max_batch_size=1, max_enqueued_batches=8), Metrics()),
        lambda: BatchingRunner(parameters(max_batch_size=8, max_enqueued_batches=1), Metrics()),
    ],
)
def test_cancelled_calls_leave_the_queue_with_their_arrays(runner):
    servable = Doubler()
    servable.gate.clear()
    runner = runner()
    arrays = []

    def call(*values: float) -> Invocation:
        made = invocation(servable, *values)
        arrays.append(weakref.ref(made.inputs["x"]))
        return made

    async def main():
        running = runner.submit(invocation(servable, 1))
        await until(servable.entered.is_set)  # the one thread has it
        for _ in range(3):
            futures = [runner.submit(call(n)) for n in range(8)]
            with pytest.raises(StatusError):
                runner.submit(invocation(servable, 9))
            for future in futures:
                future.cancel()
            del future, futures
            await asyncio.sleep(0.01)
        assert [array() for array in arrays] == [None] * 24
        further = runner.submit(invocation(servable, 2))
        assert not running.done()
        servable.gate.set()
        return await asyncio.gather(running, further)

    gc.disable()
    try:
        answers = asyncio.run(main())
    finally:
        gc.enable()
        servable.gate.set()
        runner.close()
    assert [answer[0].item() for answer in answers] == [2, 4]
    assert servable.batches == [1, 1]


def test_a_cancelled_call_leaves_the_others_in_its_queue():
    servable = Doubler()
    servable.gate.clear()
    runner = BatchingRunner(parameters(max_batch_size=2), Metrics())

    async def main():
        running = runner.submit(invocation(servable, 0))
        await until(servable.entered.is_set)  # the one thread has it
        futures = [runner.submit(invocation(servable, n)) for n in range(6)]
        for cancelled in (0, 1, 3, 4):  # a whole batch, and of each other one a half
            futures[cancelled].cancel()
        await asyncio.sleep(0.01)
        kept = [futures[2], futures[5], runner.submit(invocation(servable, 6))]
        servable.gate.set()
        return await asyncio.gather(running, *kept)

    assert [answer[0].item() for answer in asyncio.run(main())] == [0, 4, 10, 12]
    runner.close()
    assert servable.batches == [1, 1, 2]


def test_a_call_cancelled_while_it_is_computed_leaves_the_queue_alone():
    servable = Doubler()
    servable.gate.clear()
    runner = BatchingRunner(parameters(max_batch_size=1), Metrics())
    errors = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
        computed = runner.submit(invocation(servable, 1))
        await until(servable.entered.is_set)
        waiting = runner.submit(invocation(servable, 2))
        computed.cancel()
        await asyncio.sleep(0.01)
        servable.gate.set()
        [answer] = await waiting
        assert answer.item() == 4

    asyncio.run(main())
    runner.close()
    assert errors == []


def test_too_many_calls_are_refused():
    servable = Doubler()
    servable.gate.clear()
    runner = DirectRunner(1, 2, Metrics())

    async def main():
        futures = [runner.submit(invocation(servable, n)) for n in range(3)]
        with pytest.raises(StatusError, match="Server Threadpool Exhausted") as raised:
            runner.submit(invocation(servable, 9))
        assert raised.value.code == Code.RESOURCE_EXHAUSTED
        servable.gate.set()
        await asyncio.gather(*futures)
        runner.submit(invocation(servable, 9))

    asyncio.run(main())
    runner.close()


def test_parameters_are_tf_servings_file():
    message = text_format.Parse(
        """
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 0 }
        max_enqueued_batches { value: 1000000 }
        num_batch_threads { value: 8 }
        allowed_batch_sizes: 64
        allowed_batch_sizes: 128
        """,
        messages.BatchingParameters(),
    )
    found = BatchingParameters.from_message(message)
    assert (found.max_batch_size, found.num_batch_threads) == (128, 8)
    assert found.allowed_batch_sizes == (64, 128)
    assert BatchingParameters.from_message(messages.BatchingParameters()).max_batch_size == 1000


@pytest.mark.parametrize(
    ("sizes", "message"), [((8, 4), "increasing"), ((2, 4), "must match max_batch_size")]
)
def test_wrong_allowed_batch_sizes(sizes, message):
    with pytest.raises(ValueError, match=message):
        parameters(max_batch_size=8, allowed_batch_sizes=sizes)


def test_a_call_of_many_rows_is_computed_in_parts_where_rows_are_independent():
    values = list(range(150))
    for independent, batches in ((True, [64, 64, 22]), (False, [150])):
        servable = Doubler(independent)
        [[result]] = gather(DirectRunner(2, 10, Metrics()), [invocation(servable, *values)])
        assert servable.batches == batches
        np.testing.assert_array_equal(result.ravel(), np.arange(150) * 2)


def test_a_call_of_many_rows_ends_with_its_client_and_lets_others_through():
    servable = Doubler(independent_rows=True)
    servable.gate.clear()
    runner = DirectRunner(2, 10, Metrics())

    async def main():
        large = runner.submit(invocation(servable, *range(640)))
        await asyncio.sleep(0.05)
        small = [runner.submit(invocation(servable, n)) for n in range(2)]
        large.cancel()
        servable.gate.set()
        await asyncio.gather(*small)
        await asyncio.sleep(0.05)

    asyncio.run(main())
    runner.close()
    assert sorted(servable.batches) == [1, 1, 64]


def test_a_failed_call_leaves_its_arrays_to_nobody():
    """Only the cyclic collector would free what an error's traceback leads to."""
    servable = Doubler()
    arrays = []

    def failing() -> Invocation:
        call = invocation(servable, -1)
        arrays.append(weakref.ref(call.inputs["x"]))
        return call

    gc.disable()
    try:
        for runner in (DirectRunner(1, 10, Metrics()), BatchingRunner(parameters(), Metrics())):
            [error] = gather(runner, [failing()])
            assert error.message == "negative"
            del error
        assert [array() for array in arrays] == [None, None]
    finally:
        gc.enable()
