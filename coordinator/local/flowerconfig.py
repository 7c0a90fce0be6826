"""Set up Flower: the columns that show a job, progress inside a task, and workers that come and go.

Flower reads this as a plain file (`--conf`), and takes every name below that it knows as an option.
"""

# `result` is where a running embed task shows "35% · 17,500/50,000 · 454 img/s · 1 min 11 s left".
tasks_columns = "name,state,args,result,worker,started,runtime"
auto_refresh = True
max_tasks = 10_000
# Colab machines vanish silently: forget a worker that has been silent for an hour.
purge_offline_workers = 3600
# A user must never get this by accident: an open API next to an unauthenticated page.
unauthenticated_api = False


def format_task(task):  # type: ignore[no-untyped-def]
    """Shorten what is shown of a task. Flower calls this for each row, with a copy."""
    # A progress event makes Celery's record say PROGRESS; Flower shows its badge and its Terminate only for STARTED.
    if task.state == "PROGRESS":
        task.state = "STARTED"
    task.name = str(task.name).removeprefix("lookalike.")
    for attribute in ("args", "result"):
        text = getattr(task, attribute, None)
        if isinstance(text, str):
            setattr(task, attribute, text.strip("'\""))
    return task
