// One step of a sign-in by openid-client, an OpenID Connect client that shares no code with
// Rollcall. The step comes as JSON on standard input, its outcome goes as JSON to standard output:
//
//   every step: {"step", "issuer", "clientId", "clientSecret"?}
//   begin:    "redirectUri", "parameters"?      -> {"url", "checks"}
//   finish:   "callback", "checks"              -> {"tokens", "claims"}
//   refresh:  "refreshToken"                    -> {"tokens", "claims"}
//   userinfo: "accessToken", "subject"          -> {"userinfo"}
//   revoke:   "token"                           -> {}
//   a refusal by either side                    -> {"refused": {"message", "code", "error", ...}}
//
// Node's own NODE_EXTRA_CA_CERTS names the authority of the issuer's TLS certificate.
import { text } from 'node:stream/consumers'
import * as client from 'openid-client'

async function run(input) {
  const authentication = input.clientSecret ? client.ClientSecretBasic(input.clientSecret) : client.None()
  const issuer = new URL(input.issuer)
  const config = await client.discovery(issuer, input.clientId, undefined, authentication)
  // TLS alone would do by the specification; the signature of each ID token is checked all the same.
  client.enableNonRepudiationChecks(config)

  const tokens = (response) => ({ tokens: { ...response }, claims: response.claims() ?? null })
  switch (input.step) {
    case 'begin': {
      const checks = {
        pkceCodeVerifier: client.randomPKCECodeVerifier(),
        expectedNonce: client.randomNonce(),
        expectedState: client.randomState(),
      }
      const url = client.buildAuthorizationUrl(config, {
        redirect_uri: input.redirectUri,
        scope: 'openid',
        code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
        code_challenge_method: 'S256',
        nonce: checks.expectedNonce,
        state: checks.expectedState,
        ...input.parameters,
      })
      return { url, checks }
    }
    case 'finish':
      return tokens(
        await client.authorizationCodeGrant(config, new URL(input.callback), {
          ...input.checks,
          idTokenExpected: true,
        }),
      )
    case 'refresh':
      return tokens(await client.refreshTokenGrant(config, input.refreshToken))
    case 'userinfo':
      return { userinfo: await client.fetchUserInfo(config, input.accessToken, input.subject) }
    case 'revoke':
      await client.tokenRevocation(config, input.token)
      return {}
    default:
      throw new TypeError(`no such step: ${input.step}`)
  }
}

// What openid-client, or the issuer through it, says no to. Anything else is a defect, which ends
// the program with a stack trace.
function refusal(error) {
  if (!error.code?.startsWith('OAUTH_')) throw error
  const { message, code, status, error: kind, error_description: description } = error
  return { refused: { message, code, status, error: kind, description, cause: error.cause?.message } }
}

const outcome = await run(JSON.parse(await text(process.stdin))).catch(refusal)
process.stdout.write(JSON.stringify(outcome))
