"""Runs scim2-tester against the SCIM server that standard input describes, a JSON object with
`endpoint`, `token` and `ca` (a file); prints a JSON list of what it checked."""

import json
import ssl
import sys

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import check_server

server = json.load(sys.stdin)
client = Client(
    base_url=server["endpoint"],
    headers={"Authorization": f"Bearer {server['token']}"},
    verify=ssl.create_default_context(cafile=server["ca"]),
    trust_env=False,
    timeout=30,
)
checks = check_server(SyncSCIMClient(client))
json.dump(
    [
        {
            "status": check.status.name,
            "title": check.title,
            "resource": check.resource_type,
            "reason": check.reason,
        }
        for check in checks
    ],
    sys.stdout,
)
