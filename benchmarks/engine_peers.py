"""The same chain through task queues and a scheduler, each with 16 threads in this process."""

import logging
import threading
import time

from benchmarks.chain import both

THREADS = 16
LONGEST_S = 60.0


class Countdown:
    """Tells when the last of so many execs has called `done`."""

    def __init__(self, execs):
        self.execs = execs
        self._ended = []
        self._all = threading.Event()
        self._begun = time.perf_counter()

    def done(self):
        self._ended.append(None)
        if len(self._ended) == self.execs:
            self._all.set()

    def wait(self):
        """The figures, once all have ended."""
        if not self._all.wait(LONGEST_S):
            raise TimeoutError(f"{len(self._ended)} of {self.execs} after {LONGEST_S} s")
        return {"µs": (time.perf_counter() - self._begun) / self.execs * 1e6}


def apscheduler_run_now(execs):
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.schedulers.background import BackgroundScheduler

    def chain(params):
        both(params)
        countdown.done()

    scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(THREADS)})
    scheduler.start()
    countdown = Countdown(execs)
    for n in range(execs):
        scheduler.add_job(chain, args=({"n": n},), misfire_grace_time=None)
    figures = countdown.wait()
    scheduler.shutdown()
    return figures


def dramatiq_pipeline(execs, steps=2):
    import dramatiq
    from dramatiq.brokers.stub import StubBroker

    broker = StubBroker()
    dramatiq.set_broker(broker)

    @dramatiq.actor
    def first(params):
        return params

    @dramatiq.actor
    def last(params):
        countdown.done()

    worker = dramatiq.Worker(broker, worker_threads=THREADS)
    worker.start()
    countdown = Countdown(execs)
    for n in range(execs):
        between = [first.message() for _ in range(steps - 2)]
        dramatiq.pipeline([first.message({"n": n}), *between, last.message()]).run()
    figures = countdown.wait()
    worker.stop()
    return figures


def huey_pipeline(execs):
    from huey import MemoryHuey

    logging.getLogger("huey").setLevel(logging.ERROR)
    huey = MemoryHuey()

    @huey.task()
    def first(params):
        return params

    @huey.task()
    def second(n):  # huey hands a returned dict on as keyword arguments
        countdown.done()

    consumer = huey.create_consumer(workers=THREADS, periodic=False)
    consumer.start()
    countdown = Countdown(execs)
    for n in range(execs):
        huey.enqueue(first.s({"n": n}).then(second))
    figures = countdown.wait()
    consumer.stop(graceful=True)
    return figures


def celery_chain(execs, steps=2):
    from celery import Celery, chain
    from celery.contrib.testing.worker import start_worker

    app = Celery("benchmarks", broker="memory://", backend="disabled://")
    # In its favour: by default the memory broker sleeps a second whenever 64 are prefetched.
    app.conf.worker_prefetch_multiplier = 0
    app.conf.broker_transport_options = {"polling_interval": 0.01}

    @app.task(ignore_result=True)
    def first(params):
        return params

    @app.task(ignore_result=True)
    def last(params):
        countdown.done()

    with start_worker(app, pool="threads", concurrency=THREADS, perform_ping_check=False):
        countdown = Countdown(execs)
        for n in range(execs):
            between = [first.s() for _ in range(steps - 2)]
            chain(first.s({"n": n}), *between, last.s()).apply_async()
        return countdown.wait()
