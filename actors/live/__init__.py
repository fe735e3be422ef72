"""The live world: processes, real sockets, real time. The only room that knows ZeroMQ.

loop      one thread of one process: timers, sockets, descriptors, what other threads hand over, signals
links     sockets: one inbox for a process, one link to each process that it talks to
directory which process has which address, which actor lives in which process
control   what hosts and the launcher tell each other
host      the actors of one process: what reaches them, what they send
life      one incarnation of an actor: `Backend` of its cell, clock and shop of its ports
keys      CURVE keys of a run; `doorman` lets in who has them
places    where processes are started: this machine, or (`ray_placement`, the only door to Ray) a cluster's nodes
placement what each role needs of a cluster
process   `python -m actors.live.process FILE`: one process from its file
launch    starts processes, watches them, restarts and stops actors on demand
disk      what stand-ins keep over the death of their process
"""
