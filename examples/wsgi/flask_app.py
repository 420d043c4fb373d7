"""A Flask application whose requests share batches: each view is a thread that waits for the result of its own item.

Run it: gunicorn --chdir examples/wsgi --preload --workers 2 --threads 16 flask_app:app

It needs `pip install flask gunicorn`. Then ask http://127.0.0.1:8000/language?text=das+ist+ein+Text
"""

import math

from flask import Flask, request
from language import batcher

from asyncbatch import DeadlineExceeded, QueueFull

app = Flask(__name__)


@app.get("/language")
def language():
    return batcher(request.args["text"], timeout=2)


@app.errorhandler(QueueFull)
def full(error):
    return {"detail": "too many wait already"}, 503, {"Retry-After": str(max(1, math.ceil(error.retry_after)))}


@app.errorhandler(DeadlineExceeded)
def late(error):
    return {"detail": "it took too long"}, 504
