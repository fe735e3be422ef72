"""The SGLang engine: real SGLang servers behind the Engine port.

    engine.py    the port: commands, jobs, events; a thread with an event loop of its own
    jobs.py      what the port knows of a job, and how a server's answers become a segment
    server.py    the life of one server: started, healthy, dead, started again; or somebody else's, by its URL
    client.py    the server's HTTP API, typed
    together.py  calls that begin together, as one request
    updates.py   new weights into a running server: from disk, as shared tensors, through a process group
    sender.py    a process beside the server that hands tensors over (never the learner: it may hang, and be killed)
    serve.py     what the server's own interpreter runs; the only file that needs the package `sglang`

The server has an interpreter of its own (`SGLangConfig.python`), because SGLang pins what it needs. The API is that of
SGLang 0.5.23 as observed; docs/sglang.md has the recipe, the figures and what was seen to break it.
"""
