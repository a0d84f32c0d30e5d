"""A DataLoader with one forked worker, which loads the only item as soon as it is iterated."""

import multiprocessing


class DataLoader:
    def __init__(self, dataset, batch_size=None, num_workers=0):
        self.dataset = dataset

    def __iter__(self):
        return _Iterator(self.dataset)


class _Iterator:
    def __init__(self, dataset):
        context = multiprocessing.get_context("fork")
        worker = context.Process(target=dataset.__getitem__, args=(0,), daemon=True)
        worker.start()
        self._workers = [worker]

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration
