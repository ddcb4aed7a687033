"""What the tests of the guide's claims share: the bytes that a computation needs."""

import lazulite.core as mx

#: Scalars and other small change that a measurement of whole arrays leaves open.
SLACK = 4096


def extra(make):
    """The most bytes that were live at once while `make()` was evaluated, over those before."""
    mx.synchronize()
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    result = make()
    mx.eval(result)
    return mx.get_peak_memory() - before


def normal(*shape, dtype=mx.float32, seed=0):
    """Evaluated draws, which own their memory."""
    x = mx.random.normal(shape, key=mx.random.key(seed)).astype(dtype)
    mx.eval(x)
    return x


def counted(f):
    """The function, and a list that grows with each call."""
    calls = []

    def g(*args, **kwargs):
        calls.append(1)
        return f(*args, **kwargs)

    return g, calls
