"""Serves SCIM by scim2-server, for the bench, on PORT to who knows TOKEN: its own application and
its storage, which is in memory alone. Its command would open a connection for each request.
"""

import os

import uvicorn
from scim2_models import UnauthorizedException
from scim2_server.applications.asgi import ASGIApplication
from scim2_server.memory import AsyncInMemoryStorage
from scim2_server.utils import load_default_provider

AUTHORIZATION = f"Bearer {os.environ['TOKEN']}"


class Application(ASGIApplication):
    def check_auth(self, request):
        if request.header("Authorization") != AUTHORIZATION:
            raise UnauthorizedException


application = Application(AsyncInMemoryStorage(), load_default_provider())
uvicorn.run(
    application,
    port=int(os.environ["PORT"]),
    # seconds: it must not close a connection just as the client uses it again
    timeout_keep_alive=600,
    access_log=False,
    log_level="warning",
)
