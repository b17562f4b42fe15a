"""Prints, one a line, the ids of the messages that a peer's SQLite database holds, and what became of each.

known.py fastapi FILE    ID stored
known.py n8n FILE        ID STATUS   (of its execution: success, crashed, running, …)
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
else:
    rows = database.execute(
        "SELECT e.status, d.data FROM execution_entity e JOIN execution_data d ON d.executionId = e.id"
    )
    for status, data in rows:
        for message in set(ID.findall(data or "")):
            print(message, status)
