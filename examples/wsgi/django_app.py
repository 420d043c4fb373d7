"""A Django application whose requests share batches: each view is a thread that waits for the result of its own item.

Run it: gunicorn --chdir examples/wsgi --preload --workers 2 --threads 16 django_app:app

It needs `pip install django gunicorn`. Then ask http://127.0.0.1:8000/language?text=das+ist+ein+Text
"""

import math

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from language import batcher

from asyncbatch import DeadlineExceeded, QueueFull


def language(request):
    try:
        return JsonResponse(batcher(request.GET["text"], timeout=2))
    except QueueFull as error:
        headers = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
        return JsonResponse({"detail": "too many wait already"}, status=503, headers=headers)
    except DeadlineExceeded:
        return JsonResponse({"detail": "it took too long"}, status=504)


urlpatterns = [path("language", language)]
settings.configure(ALLOWED_HOSTS=["127.0.0.1", "localhost"], ROOT_URLCONF=__name__)  # a project has these in its settings
app = get_wsgi_application()
