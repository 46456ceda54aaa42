"""The worker role: hosts jobs that outlive any process.

Decision: the rows `jobs` and `job_parts` say what is to be done and how far it is; DBOS brings a row's id to a worker,
and to another worker if that one dies. No step's result is kept in the engine. Context: an engine that replays a
program from its recorded steps binds running jobs to the program's text, and keeps results where no query finds them.
A job here goes on from its rows (the evaluations that are finished, the last checkpoint), whatever the program that
wrote them. Price: what happened since the last row is done again; so rows are written after every evaluation and
checkpoint.

What the engine leaves to its paid service is done here: each process keeps a row in `workers` (`app.worker.watch`),
and whoever lives takes up the work of those who do not.

To add a kind of job: a module with a `Kind` (see `app.worker.kinds`), whose `run` takes a `Unit` (`app.worker.unit`).
"""
