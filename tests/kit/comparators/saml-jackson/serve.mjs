// Serves SCIM by @boxyhq/saml-jackson, for the bench, on PORT: one directory, kept in the PostgreSQL of
// DATABASE. It is a library, so this is the HTTP around it. Once it serves, it prints a line of JSON:
// the endpoint and the token.

import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import jackson from "@boxyhq/saml-jackson";

const port = Number(process.env.PORT);
const externalUrl = `http://127.0.0.1:${port}`;
const { directorySyncController } = await jackson.default({
  externalUrl,
  samlPath: "/saml",
  scimPath: "",
  noAnalytics: true,
  db: { engine: "sql", type: "postgres", url: process.env.DATABASE },
  // where a program that has it inside learns of changes; without one, each would be logged as an error
  dsync: { callback: async () => {} },
  logger: { info() {} },
});
const { directories, requests } = directorySyncController;
const { data: directory, error } = await directories.create({ tenant: "bench", product: "bench" });
if (error) throw error;

const server = createServer(async (request, response) => {
  try {
    const [, directoryId, resourceType, resourceId] = request.url.split("/");
    const { status, data } = await requests.handle({
      method: request.method,
      body: await json(request),
      directoryId,
      resourceType,
      resourceId,
      query: {},
      apiSecret: request.headers.authorization?.slice("Bearer ".length),
    });
    response.writeHead(status, { "Content-Type": "application/scim+json" });
    response.end(JSON.stringify(data));
  } catch (error) {
    response.writeHead(500).end(JSON.stringify({ detail: String(error) }));
  }
});
// it must not close a connection just as the client uses it again
server.keepAliveTimeout = 600_000;
server.listen(port, "127.0.0.1", () => {
  const { secret } = directory.scim;
  console.log(JSON.stringify({ endpoint: `${externalUrl}/${directory.id}`, token: secret }));
});
