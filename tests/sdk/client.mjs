// Cloudflare's Node client against the simulated Cloudflare.
//
// Arguments: base URL, token, reader's token, zone name. Prints "done" at the end.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

// The client lives in a folder of its own, not beside this file.
const require = createRequire(`${process.env.ORIGINSWITCH_SDK_NODE_DIR}/`);
const Cloudflare = require('cloudflare');

const [baseURL, token, reader, zoneName] = process.argv.slice(2);
const client = (apiToken, maxRetries = 0) => new Cloudflare({ apiToken, baseURL, maxRetries });
const codes = (error) => error.errors.map((e) => e.code);

async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

async function fails(kind, promise) {
  const error = await Promise.resolve(promise).then(
    () => assert.fail(`${kind.name} expected`),
    (e) => e,
  );
  assert.equal(error.constructor, kind, String(error));
  return error;
}

const cf = client(token);
assert.equal((await cf.user.tokens.verify()).status, 'active');

// More zones than fit on a page: the client fetches further pages by itself.
assert.equal((await all(cf.zones.list({ per_page: 5 }))).length, 12);
const [zone] = await all(cf.zones.list({ name: zoneName }));
assert.equal(zone.name, zoneName);
const zone_id = zone.id;

const name = `www.${zoneName}`;
const [www, ...more] = await all(cf.dns.records.list({ zone_id, name: { exact: name }, type: 'A' }));
assert.equal(more.length, 0);
assert.equal(www.content, '192.0.2.10');
assert.equal(www.comment, 'kept');

const patched = await cf.dns.records.edit(www.id, { zone_id, type: 'A', name, ttl: www.ttl, content: '198.51.100.20' });
assert.equal(patched.content, '198.51.100.20');
assert.equal(patched.comment, 'kept');
assert.ok(patched.modified_on > www.modified_on);

const batch = await cf.dns.records.batch({
  zone_id,
  patches: [{ id: www.id, content: '192.0.2.10' }],
  posts: [{ type: 'A', name: 'batch-node', ttl: 1, content: '203.0.113.9' }],
});
assert.equal(batch.patches[0].content, '192.0.2.10');
const gone = await cf.dns.records.delete(batch.posts[0].id, { zone_id });
assert.equal(gone.id, batch.posts[0].id);

const nobody = '0'.repeat(32);
let error = await fails(Cloudflare.NotFoundError, cf.dns.records.get(nobody, { zone_id }));
assert.deepEqual(codes(error), [81044]);
error = await fails(
  Cloudflare.BadRequestError,
  cf.dns.records.create({ zone_id, type: 'CNAME', name: 'www', ttl: 1, content: 't.example.net' }),
);
assert.deepEqual(codes(error), [81053]);
error = await fails(
  Cloudflare.PermissionDeniedError,
  client(reader).dns.records.edit(www.id, { zone_id, type: 'A', name, ttl: 1, content: '192.0.2.66' }),
);
assert.deepEqual(codes(error), [10000]);
await fails(Cloudflare.AuthenticationError, client('unknown').user.tokens.verify());

// The next two lists of records are throttled.
const throttled = (c) => all(c.dns.records.list({ zone_id, name: { exact: 'throttled.test' } }));
error = await fails(Cloudflare.RateLimitError, throttled(cf));
assert.deepEqual(codes(error), [971]);
assert.deepEqual(await throttled(client(token, 1)), []);
console.log('done');
