"""The kernel: what an actor is, the only door that it has, and the cell that keeps the contract in every world.

    operations  what a task may await                streams   one named random stream per purpose
    context     the door: an actor sees nothing else asks      windows, timeouts and replies of one actor
    cell        actor + tasks + timers + asks        codec     MessagePack, typed and validated
    supervision restart with backoff and a budget    backend   what a world has to offer a cell

It imports nothing of the house but the error family.
"""
