import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { describe, it } from 'node:test';
import { hashPassword } from '../../src/common/password.js';
import { Site } from '../e2e/site.js';
import { failOnLeaks } from '../support/leaks.js';
import { runFerry } from '../support/process.js';
import { type Answer, Client, PASSWORD, startDashboard, withDashboard } from './client.js';

/** Every state and verdict that a page of ours can send. */
const VERDICTS = ['pause', 'resume', 'replay', 'skip'];

const { port } = await (async () => {
  const site = await Site.make();
  const hash = await hashPassword(PASSWORD);
  await site.configure({
    destinations: { replica: { port: 1 } },
    journals: ['name: foo, path: fifo/foo, to: replica'],
  });
  await withDashboard(site, [
    `name: ops, password: {scrypt: ${hash}}`,
    'name: env, password: {env: DASHBOARD_TEST}',
    'name: file, password: {file: ./secret}',
    `name: viewer, password: {scrypt: ${hash}}, readOnly: true`,
    `name: guessed, password: {scrypt: ${hash}}`,
  ]);
  writeFileSync(site.path('secret'), `${hash}\n`);
  return startDashboard(site, { env: { DASHBOARD_TEST: PASSWORD } });
})();

failOnLeaks();

describe('a dashboard with users', () => {
  const loggedIn = async (name: string): Promise<Client> => {
    const client = new Client(port);
    assert.equal((await client.login(name)).status, 303);
    return client;
  };

  it('shows nothing to whoever has not logged in', async () => {
    const client = new Client(port);
    for (const path of ['/', '/queues', '/queues/queue/batches', '/queues/static/x.js']) {
      const answer = await client.ask(path);
      assert.deepEqual([answer.status, answer.headers.get('location')], [302, '/login'], path);
    }
    for (const path of ['/queues/api/queues', '/queues/api/redis/stats']) {
      assert.equal((await client.ask(path)).status, 401, path);
    }
    for (const kind of VERDICTS) assert.equal((await client.post(`/act/${kind}`)).status, 401);
    assert.equal((await client.put('batches/promote')).status, 401);
    const invented = { cookie: `ferry_session_0=${'A'.repeat(43)}` };
    assert.equal((await client.ask('/', { headers: invented })).status, 302);
  });

  it('lets users in by a hash, a variable and a file, and out again for good', async () => {
    for (const name of ['ops', 'env', 'file']) {
      const client = new Client(port);
      assert.equal((await client.login(name, `${PASSWORD}!`)).status, 401);
      const login = await client.login(name);
      assert.equal(login.status, 303, name);
      const cookie = login.headers.getSetCookie().join();
      assert.match(cookie, /HttpOnly/);
      assert.match(cookie, /SameSite=Strict/);
      assert.doesNotMatch(cookie, /Secure/);
      assert.match((await client.ask('/')).text, new RegExp(`<span>${name}</span>`));
      const stolen = { cookie: client.cookies };
      assert.equal((await client.post('/logout')).status, 303);
      assert.equal((await client.ask('/', { headers: stolen })).status, 302);
    }
  });

  it('keeps its cookie for TLS where a proxy says that it speaks TLS', async () => {
    const client = new Client(port);
    const answer = await client.post(
      '/login',
      { name: 'ops', password: PASSWORD },
      { 'x-forwarded-proto': 'https' },
    );
    assert.match(answer.headers.getSetCookie().join(), /Secure/);
  });

  it('refuses what does not come from a page of its own', async () => {
    const client = await loggedIn('ops');
    const foreign: Record<string, string>[] = [
      { origin: 'http://evil.example' },
      { origin: 'null' },
      { origin: `http://127.0.0.1:${port + 1}` },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { origin: 'http://evil.example', 'sec-fetch-site': 'same-origin' },
    ];
    for (const headers of foreign) {
      for (const path of ['/act/pause', '/login', '/logout']) {
        assert.equal((await client.post(path, { route: '*' }, headers)).status, 403, path);
      }
      const click = { method: 'PUT', headers };
      assert.equal((await client.ask('/queues/api/queues/batches/promote', click)).status, 403);
    }
    assert.equal((await raw(port, client.cookies)).slice(0, 12), 'HTTP/1.1 403', 'without Origin');
    assert.equal((await client.ask('/')).status, 200, 'and is still logged in');
  });

  it('takes the host that a proxy passes on for its own', async () => {
    const client = await loggedIn('ops');
    const behind = (host: string) =>
      raw(port, client.cookies, host, 'POST /logout HTTP/1.1\r\nOrigin: https://ops.example.com');
    assert.match(await behind(`127.0.0.1:${port}`), /^HTTP\/1\.1 403[\s\S]*pass the Host header/);
    assert.match(await behind('ops.example.com'), /^HTTP\/1\.1 303/);
  });

  it('lets a user who looks only look, and nothing else', async () => {
    const client = await loggedIn('viewer');
    const page = await client.ask('/');
    assert.equal(page.status, 200);
    assert.doesNotMatch(page.text, /\/act\//);
    for (const kind of VERDICTS) {
      assert.equal((await client.post(`/act/${kind}`, { route: 'foo@replica' })).status, 403);
    }
    for (const click of ['batches/promote', 'batches/retry/failed', 'blobs/x/clean']) {
      assert.equal((await client.put(click)).status, 403, click);
    }
    const { status, text } = await client.ask('/queues/api/queues');
    assert.equal(status, 200);
    assert.match(text, /"readOnlyMode":true/);
  });

  it('holds up whoever guesses, for names that there are not too', async () => {
    for (const name of ['guessed', 'nobody']) {
      const client = new Client(port);
      const answers: Answer[] = [];
      // On a machine that is busy the first pauses are over before the next try.
      do answers.push(await client.login(name, 'guess'));
      while (answers.at(-1)?.status === 401 && answers.length < 10);
      const statuses = answers.map(({ status }) => status);
      assert.deepEqual([...statuses.slice(0, 3), statuses.at(-1)], [401, 401, 401, 429], name);
      assert.ok(Number(answers.at(-1)?.headers.get('retry-after')) >= 1);
    }
    const many = await Promise.all(
      Array.from({ length: 20 }, (_, index) => new Client(port).login(`at once ${index}`, 'guess')),
    );
    const statuses = new Set(many.map(({ status }) => status));
    assert.deepEqual([...statuses].sort(), [401, 429], 'some are not even looked at');
    await loggedIn('ops');
  });

  it('says what browsers need to know, and loads nothing from elsewhere', async () => {
    const client = await loggedIn('ops');
    for (const path of ['/login', '/', '/queues/queue/batches', '/static/dashboard.js', '/none']) {
      const { headers, text } = await client.ask(path);
      const policy = headers.get('content-security-policy') ?? '';
      assert.match(policy, /default-src 'none'; script-src 'self';/, path);
      assert.match(policy, /frame-ancestors 'none'/);
      assert.equal(headers.get('x-content-type-options'), 'nosniff');
      assert.equal(headers.get('x-frame-options'), 'DENY');
      assert.doesNotMatch(text, /(src|href)="(https?:)?\/\//, path);
    }
    assert.equal((await client.ask('/')).headers.get('cache-control'), 'no-store');
  });

  it('reads no more of a request than a form has', async () => {
    const client = await loggedIn('ops');
    const answer = await client.post('/act/skip', { reason: 'x'.repeat(70_000) });
    assert.equal(answer.status, 413);
  });

  it('says what is missing in a click', async () => {
    const client = await loggedIn('ops');
    const none = { route: '', sequence: '1', reason: 'r' };
    assert.match(await client.act('skip', none), /no route is named/);
    assert.match(await client.act('skip', { ...none, route: 'foo', reason: ' ' }), /no reason/);
    const page = await client.act('skip', { route: 'foo', sequence: '1e9', reason: 'r' });
    assert.match(page, /which batch/);
    assert.match(await client.act('pause', { route: '<b>@x' }), /no route is named &lt;b&gt;@x/);
    assert.equal((await client.post('/act/obliterate')).status, 404);
  });

  it('shows what somebody typed as text, and comes back to it', async () => {
    const client = await loggedIn('ops');
    const { text } = await client.ask(`/?q=${encodeURIComponent('"><script>alert(1)</script>')}`);
    assert.match(text, /value="&quot;&gt;&lt;script&gt;alert/);
    assert.doesNotMatch(text, /<script>alert/);
    const answer = await client.post('/act/pause', { route: 'foo@replica', q: '//evil.example' });
    assert.equal(answer.headers.get('location'), '/?q=%2F%2Fevil.example');
  });
});

describe('a dashboard without users', () => {
  it('answers this machine under its own names only', async () => {
    const site = await Site.make();
    writeFileSync(site.path('ferry.yaml'), '');
    await withDashboard(site, []);
    const { port } = await startDashboard(site);
    const client = new Client(port);
    assert.equal((await client.ask('/')).status, 200);
    assert.equal((await client.ask('/login')).headers.get('location'), '/');
    const rebound = await raw(port, '', `attacker.example:${port}`, 'GET / HTTP/1.1');
    assert.match(rebound, /^HTTP\/1\.1 403[\s\S]*localhost only/);
    assert.match(await raw(port, '', `[::1]:${port}`, 'GET / HTTP/1.1'), /^HTTP\/1\.1 200/);
  });

  it('is no configuration for a listener that others reach', async () => {
    const site = await Site.make();
    for (const host of ['0.0.0.0', 'dashboard.example.com']) {
      writeFileSync(site.path('ferry.yaml'), `dashboard: {listen: "${host}:3000"}\n`);
      const result = await runFerry(['dashboard'], { cwd: site.dir });
      assert.equal(result.code, 2, host);
      assert.match(result.stderr, /dashboard\.listen: .*open to anybody[\s\S]*hint: add: users/);
    }
  });
});

/** A request with a head of our own, and the whole answer. */
function raw(
  port: number,
  cookie: string,
  host = `127.0.0.1:${port}`,
  what = 'POST /act/pause HTTP/1.1',
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let received = '';
    socket.setEncoding('utf8').on('data', (text) => {
      received += text;
    });
    socket.on('error', reject);
    socket.on('end', () => resolve(received));
    socket.write(`${what}\r\nHost: ${host}\r\nCookie: ${cookie}\r\nContent-Length: 0\r\n`);
    socket.write('Connection: close\r\n\r\n');
  });
}
