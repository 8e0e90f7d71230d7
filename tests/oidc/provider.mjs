// An OpenID provider on loopback for tests/e2e/servers/test_openid_provider.py: oidc-provider, with authorization code
// and PKCE, dynamic registration and resource indicators. Whoever comes is signed in as ACCOUNT and consents.
//   PORT=4000 ACCOUNT=dr-osei ROLES=doctors node provider.mjs
// With REVIEW=http://127.0.0.1:8110/ it knows the review page at that address, too.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const port = Number(process.env.PORT);
const account = process.env.ACCOUNT;
const groups = process.env.ROLES.split(',');
const issuer = `http://127.0.0.1:${port}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), kid: `key-${Date.now()}`, use: 'sig', alg: 'RS256' };

const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  cookies: { keys: ['a test has nothing to hide'] },
  scopes: ['openid', 'offline_access', 'clinic'],
  clients: [
    {
      client_id: 'clinic-portal',
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1:9/callback'],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
    ...(process.env.REVIEW
      ? [
          {
            client_id: 'clinic-review',
            client_secret: 'a secret of the test',
            application_type: 'native',
            redirect_uris: [`${process.env.REVIEW}login/openid/callback`],
            grant_types: ['authorization_code'],
            response_types: ['code'],
            token_endpoint_auth_method: 'client_secret_basic',
          },
        ]
      : []),
  ],
  async findAccount(_ctx, id) {
    return { accountId: id, claims: async () => ({ sub: id, groups }) };
  },
  // Claims of the access token beside those of RFC 9068.
  async extraTokenClaims() {
    return { groups };
  },
  ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 60, Session: 600 },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  async loadExistingGrant(ctx) {
    const { client, session, params } = ctx.oidc;
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(params.scope ?? '');
    for (const resource of [params.resource].flat().filter(Boolean)) grant.addResourceScope(resource, 'clinic');
    await grant.save();
    return grant;
  },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      async getResourceServerInfo(_ctx, resource) {
        const jwt = { sign: { alg: 'RS256' } };
        return { audience: resource, scope: 'clinic', accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt };
      },
      async useGrantedResource() {
        return true;
      },
    },
  },
});

const handle = provider.callback();
const server = createServer(async (request, response) => {
  if (!request.url.startsWith('/interaction/')) return handle(request, response);
  try {
    await provider.interactionFinished(request, response, { login: { accountId: account }, consent: {} });
  } catch (error) {
    response.writeHead(400).end(error.name);
  }
});
server.listen(port, '127.0.0.1', () => console.log('listening'));
process.on('SIGTERM', () => process.exit(0));
