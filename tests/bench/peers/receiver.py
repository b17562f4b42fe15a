"""The receiver that people write: FastAPI, the signature checked, one SQLite commit for each message before the 200.

receiver.py PORT WORKERS. DATABASE is the file, CERTIFICATE_HOST the only origin whose certificate counts.
"""

import base64
import json
import os
import sqlite3
import sys
import urllib.request

import uvicorn
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from fastapi import FastAPI, Request, Response

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
database = sqlite3.connect(os.environ["DATABASE"], isolation_level=None, timeout=10)
# Each commit is one append and one fsync, with WAL, which is the fastest durable way that SQLite has.
database.execute("PRAGMA synchronous = FULL")

SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
keys = {}


def public_key(url):
    if url not in keys:
        if not url.startswith(os.environ["CERTIFICATE_HOST"] + "/"):
            raise InvalidSignature
        with urllib.request.urlopen(url, timeout=5) as answer:
            keys[url] = x509.load_pem_x509_certificate(answer.read(65536)).public_key()
    return keys[url]


@app.get("/healthz")
async def healthz():
    return Response()


@app.post("/sns")
async def sns(request: Request):
    body = await request.body()
    message = json.loads(body)
    text = "".join(f"{name}\n{message[name]}\n" for name in SIGNED if name in message)
    try:
        key = public_key(message["SigningCertURL"])
        key.verify(base64.b64decode(message["Signature"]), text.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return Response(status_code=403)
    # In the event loop on purpose: handing so short a commit to a thread costs more than it.
    database.execute("INSERT OR IGNORE INTO messages VALUES (?, ?)", (message["MessageId"], body))
    return Response("{}", media_type="application/json")


if __name__ == "__main__":
    # Before there are workers to contend for it.
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID")
    database.close()
    uvicorn.run(
        "receiver:app",
        host="127.0.0.1",
        port=int(sys.argv[1]),
        workers=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
