import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Random } from '../../chaos/random.js';
import { Spool } from '../../src/producers/spool/spool.js';
import { failOnLeaks } from '../support/leaks.js';
import { memoryDir } from '../support/tempDir.js';
import { PowerCut } from './cut.js';
import { bound } from './disk.js';
import { Producer, ProducerWorld, ROUTE } from './producer.js';
import { cutAndCheck, someLives, VARIANTS, wholeLife } from './producerLives.js';
import { moments, ROUNDS } from './rounds.js';

const below = memoryDir();
failOnLeaks();

const CUTS = 24;
const LIVES = 5;

for (const variant of VARIANTS) {
  test(`a power cut at any moment loses and doubles nothing: ${variant.name}`, async () => {
    const { world } = await wholeLife(below, variant);
    for (const { tick, mood, seed } of moments(world.disk.now, CUTS)) {
      await cutAndCheck(world, tick, mood, seed);
    }
  });

  test(`kills and power cuts, one after the other, lose and double nothing: ${variant.name}`, async () => {
    for (let seed = 1; seed <= LIVES * ROUNDS; seed += 1) {
      await someLives(below, variant, `${seed}`);
    }
  });
}

/**
 * The version was in the page cache only. The successor sent the blob under it, the power went,
 * and the version with it: the next blob got the same one, and a receiver ignores old versions.
 */
test('what a killed producer had not synced is durable before its successor acts on it', async () => {
  const world = ProducerWorld.fresh(below);
  await new Producer(world).live(async (p) => {
    await p.append(100);
    await p.captureAll();
  });
  const killed = new Producer(world, 'log #makeDurable datasync');
  assert.equal(await killed.live((p) => p.blobsAndGeneration()), 'killed');
  await new Producer(world).live(async ({ spool }) => {
    assert.ok(spool.nextBlobVersion() > 1, 'the successor has seen the blob');
  });
  await cutAndCheck(world, world.disk.now, 'nothing', 'version');
});

/**
 * The state directory was made durable level by level, and a spool that found a level done took
 * all above it for done as well. They were not when the sync above had failed, or was still under
 * way for another journal: a power cut took the state directory as a whole.
 */
test('a spool does not take the levels above it for durable because the first one is', async () => {
  const world = ProducerWorld.fresh(below);
  const process = world.disk.process();
  const spoolOf = (name: string) =>
    Spool.open(join(world.root, 'state/spool', name), {
      journal: name,
      bootId: 'boot-1',
      fileSystem: {
        ...bound(process),
        async syncDirectory(path) {
          if (name === 'bar' && path === world.root) throw new Error('EIO: injected');
          return process.syncDirectory(path);
        },
      },
    });
  const bar = await spoolOf('bar');
  await assert.rejects(bar.addRoute(ROUTE, { after: 0 }), { code: 'SPOOL_WRITE_FAILED' });
  const foo = await spoolOf('foo');
  await foo.addRoute(ROUTE, { after: 0 });
  const later = join(below, 'levels');
  new PowerCut(world.disk, world.disk.now, 'nothing', new Random('')).restore(later);
  const view = await Spool.readOnly(join(later, 'state/spool/foo'));
  assert.equal(view?.stream, foo.stream);
  await bar.close();
  await foo.close();
});
