"""One actor on an empty stage: what it is told, and what it asks and sends."""


class Scene:
    """Stands in for the context and keeps everything that the actor does with it."""

    name = "actor"
    incarnation = 1
    now = 0
    ticket = None

    def __init__(self, actor):
        self.actor = actor
        self.sender = ""
        self.asks = []
        self.sends = []
        self.timers = []
        self.decisions = []

    def receive(self, message, sender="actor"):
        """Let the actor receive a message."""
        self.sender = sender
        self.actor.receive(message, self)

    def fire(self, kind):
        """Let the oldest timer of a kind go off."""
        message = next(one for one in self.timers if type(one).__name__ == kind)
        self.timers.remove(message)
        self.receive(message)

    def asked(self, kind):
        return [message for _, message in self.asks if isinstance(message, kind)]

    def sent(self, kind):
        return [message for _, message in self.sends if isinstance(message, kind)]

    # ---- the context --------------------------------------------------------------------------------------------

    def send(self, to, message):
        self.sends.append((to, message))

    def ask(self, to, message, timeout_s, reply_bytes=0):
        self.asks.append((to, message))

    def after(self, seconds, message):
        self.timers.append(message)

    def start(self, task):
        task.close()

    def note(self, name, value):
        pass

    def decide(self, kind, *fields):
        self.decisions.append((kind, *fields))

    def stop(self, name):
        self.decisions.append(("stopped", name))
