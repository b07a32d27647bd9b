from bench.workload import History


def rate(url: str, history: History, events: int) -> float:
    raise NotImplementedError
