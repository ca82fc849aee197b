import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBullBoard } from '@bull-board/api';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import { auditOf, clickOf } from '../../src/dashboard/boardClick.js';

/** Everything that changes something in bull-board's api, as this version of it says. */
function changes(): { method: string; route: string }[] {
  const found: { method: string; route: string }[] = [];
  class Listening extends HonoAdapter {
    override setApiRoutes(routes: Parameters<HonoAdapter['setApiRoutes']>[0]) {
      for (const { method, route } of routes) {
        for (const one of [method].flat()) {
          for (const path of [route].flat()) {
            if (one !== 'get') found.push({ method: one.toUpperCase(), route: path });
          }
        }
      }
      return super.setApiRoutes(routes);
    }
  }
  createBullBoard({ queues: [], serverAdapter: new Listening(serveStatic) });
  return found;
}

/** A path that the route fits; a state where it asks for one. */
function pathOf(route: string): string {
  const path = route
    .replace(':queueName', 'batches')
    .replace(':jobId', 'foo%40replica~1.0000000042')
    .replace(':queueStatus', 'failed')
    .replace(/:\w+/, 'x');
  return `/queues${path}`;
}

test('of all that the Bull dashboard can change, promote, retry and remove are allowed, and nothing else', () => {
  const all = changes();
  assert.ok(all.length > 20, `${all.length} ways to change something`);
  const allowed = all.filter(({ method, route }) => clickOf(method, pathOf(route)) !== null);
  assert.deepEqual(allowed.map(({ method, route }) => `${method} ${route}`).sort(), [
    'PUT /api/queues/:queueName/:jobId/clean',
    'PUT /api/queues/:queueName/:jobId/promote',
    'PUT /api/queues/:queueName/:jobId/retry',
    'PUT /api/queues/:queueName/clean/:queueStatus',
    'PUT /api/queues/:queueName/promote',
    'PUT /api/queues/:queueName/retry/:queueStatus',
  ]);
});

test('a click is one of our two queues, and of nothing beside them', () => {
  const click = (path: string) => clickOf('PUT', `/queues/api/queues/${path}`);
  assert.equal(click('others/promote'), null);
  assert.equal(click('batches'), null);
  assert.equal(click('pause'), null);
  assert.equal(click('batches/a/b/retry'), null);
  assert.equal(click('batches/retry/active'), null);
  assert.equal(click('batches/job-schedulers/remove'), null);
  assert.equal(clickOf('POST', '/queues/api/queues/batches/promote'), null);
  assert.equal(clickOf('PUT', '/queues/../queues/api/queues/batches/promote'), null);
});

test('the audit log says who clicked what on which route', () => {
  const click = (path: string) => clickOf('PUT', `/queues/api/queues/${path}`);
  const one = click('batches/foo%40replica~1.0000000042/clean');
  assert.ok(one !== null);
  assert.deepEqual(auditOf(one, 'ops (dashboard)'), {
    event: 'jobs',
    route: 'foo@replica',
    detail: {
      by: 'ops (dashboard)',
      click: 'remove',
      queue: 'batches',
      job: 'foo@replica~1.0000000042',
      state: null,
    },
  });
  const all = click('blobs/retry/failed');
  assert.ok(all !== null);
  const detail = { by: 'x', click: 'retry', queue: 'blobs', job: 'all', state: 'failed' };
  assert.deepEqual(auditOf(all, 'x'), { event: 'jobs', detail });
  assert.equal(click('batches/%E0%A4%A/retry')?.job, '%E0%A4%A');
});
