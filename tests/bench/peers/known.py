"""Prints, one a line, the ids of the messages that a peer's SQLite database holds, and what became of each.

known.py fastapi FILE    ID stored
known.py n8n FILE        ID STATUS   (of its execution: success, crashed, running, …)
known.py n8n-ended FILE  ID TIME     (when the execution ended, of those that went well)
known.py n8n-count FILE  how many executions have ended, well or not
"""

import re
import sqlite3
import sys

ID = re.compile(r"[0-9a-f]{8}-5b0c-4000-8000-[0-9a-f]{12}")
kind, path = sys.argv[1:3]
database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
if kind == "fastapi":
    for (message,) in database.execute("SELECT id FROM messages"):
        print(message, "stored")
elif kind == "n8n-count":
    print(database.execute("SELECT count(*) FROM execution_entity WHERE stoppedAt IS NOT NULL").fetchone()[0])
elif kind == "n8n-ended":
    rows = database.execute(
        "SELECT e.stoppedAt, d.data FROM execution_entity e JOIN execution_data d ON d.executionId = e.id"
        " WHERE e.status = 'success' AND e.stoppedAt IS NOT NULL"
    )
    for stopped, data in rows:
        # TypeORM writes "2026-01-01 12:00:00.123", in UTC.
        for message in set(ID.findall(data or "")):
            print(message, stopped.replace(" ", "T").rstrip("Z") + "Z")
else:
    rows = database.execute(
        "SELECT e.status, d.data FROM execution_entity e JOIN execution_data d ON d.executionId = e.id"
    )
    for status, data in rows:
        for message in set(ID.findall(data or "")):
            print(message, status)
