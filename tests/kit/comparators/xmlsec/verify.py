"""Verifies the signatures of SAML responses with python-xmlsec, for the bench: signatures and
digests, and none of SAML's own rules. For each line of its input, {"kind", "count"}, it verifies
so many responses and answers with a line: how many had good signatures. MATERIAL is the file with
the JSON of what tests/kit/src/bench/saml.rs calls Material.
"""

import base64
import json
import os
import sys

import xmlsec
from lxml import etree

with open(os.environ["MATERIAL"], encoding="utf-8") as file:
    material = json.load(file)
certificate = base64.b64decode(material["certificate"])
key = xmlsec.Key.from_memory(certificate, xmlsec.KeyFormat.CERT_DER)
parser = etree.XMLParser(resolve_entities=False, no_network=True)
SIGNATURE = "{http://www.w3.org/2000/09/xmldsig#}Signature"


def verify(form, signatures):
    """Raises unless all signatures of the response are good, and as many as there should be."""
    root = etree.fromstring(base64.b64decode(form), parser)
    xmlsec.tree.add_ids(root, ["ID"])
    found = 0
    for signature in root.iter(SIGNATURE):
        context = xmlsec.SignatureContext()
        context.key = key
        context.verify(signature)
        found += 1
    return found == signatures


kinds = {kind["name"]: kind for kind in material["kinds"]}
for line in sys.stdin:
    asked = json.loads(line)
    kind = kinds[asked["kind"]]
    forms = kind["forms"]
    signatures = kind["responseSigned"] + kind["assertionSigned"]
    accepted = sum(verify(forms[at % len(forms)], signatures) for at in range(asked["count"]))
    print(accepted, flush=True)
