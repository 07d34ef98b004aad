// Verifies SAML responses with @node-saml/node-saml, for the bench. For each line of its input,
// {"kind", "count"}, it verifies so many and answers with a line: how many were accepted.
// MATERIAL is the file with the JSON of what tests/kit/src/bench/saml.rs calls Material.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { SAML, ValidateInResponseTo } from "@node-saml/node-saml";

const material = JSON.parse(readFileSync(process.env.MATERIAL, "utf8"));

const kinds = Object.fromEntries(
  material.kinds.map(({ name, responseSigned, assertionSigned, forms }) => {
    const saml = new SAML({
      idpCert: material.certificate,
      idpIssuer: material.idpEntityId,
      issuer: material.spEntityId,
      audience: material.spEntityId,
      callbackUrl: material.acs,
      wantAuthnResponseSigned: responseSigned,
      wantAssertionsSigned: assertionSigned,
      validateInResponseTo: ValidateInResponseTo.never,
    });
    return [name, { saml, forms }];
  }),
);

for await (const line of createInterface({ input: process.stdin })) {
  const { kind, count } = JSON.parse(line);
  const { saml, forms } = kinds[kind];
  let accepted = 0;
  for (let at = 0; at < count; at++) {
    const SAMLResponse = forms[at % forms.length];
    const { profile } = await saml.validatePostResponseAsync({ SAMLResponse });
    if (profile?.nameID) accepted++;
  }
  process.stdout.write(`${accepted}\n`);
}
