"""A double's clock on a bare kernel, without a world."""

from sim.kernel import Kernel


class KernelClock:
    """What `actors.kernel.backend.Clock` asks for."""

    def __init__(self, kernel: Kernel | None = None, name: str = "double"):
        self.kernel, self.name, self.disk = Kernel() if kernel is None else kernel, name, {}
        self._code = self.kernel.code(name)

    def now(self):
        return self.kernel.now

    def call_later(self, delay, call, argument):
        return self.kernel.call_at(self.kernel.now + delay, self._code, call, argument)

    def cancel(self, handle):
        self.kernel.cancel(handle)
