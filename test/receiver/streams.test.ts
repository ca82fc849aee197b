import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BatchRecord } from '../../src/receiver/batchRecord.js';
import { OlderBatches } from '../../src/receiver/olderBatches.js';
import { StreamMemory, Streams } from '../../src/receiver/streams.js';
import { sha256 } from './harness.js';

const idOf = (stream: number) => sha256(`${stream}`).slice(0, 32);

function record(stream: number, sequence: number): BatchRecord {
  const digest = sha256(`${stream} ${sequence}`);
  return {
    number: sequence,
    stream: idOf(stream),
    sequence,
    previous: sequence - 1,
    sha256: digest,
    bytes: 1,
    part: '',
    chain: digest,
  };
}

describe('what is remembered of streams', () => {
  it('has a bound over all of them; those that stood still for longest forget first', () => {
    const memory = new StreamMemory(100);
    const apps = [new Streams(memory), new Streams(memory)];
    for (let stream = 0; stream < 20; stream += 1) {
      for (let n = 1; n <= 10; n += 1) apps[stream % 2]?.add(record(stream, n));
    }
    const known = (stream: number, n: number) => apps[stream % 2]?.held(idOf(stream), n);
    let remembered = 0;
    for (let stream = 0; stream < 20; stream += 1) {
      for (let n = 1; n <= 10; n += 1) {
        const held = known(stream, n);
        assert.notEqual(held, null, 'held, known or not');
        if (held !== 'unknown') remembered += 1;
      }
      assert.equal(apps[stream % 2]?.last(idOf(stream)), 10);
      assert.notEqual(known(stream, 10), 'unknown', 'the last one always');
    }
    assert.ok(remembered <= 100, `${remembered}`);
    assert.equal(known(0, 9), 'unknown');
    assert.notEqual(known(19, 1), 'unknown');
  });
});

describe('batches that memory has forgotten', () => {
  it('are found thousands at a time with one reading of the index', async () => {
    let readings = 0;
    const older = new OlderBatches(async (onRecord) => {
      readings += 1;
      for (let n = 1; n <= 9_000; n += 1) if (n !== 500) onRecord(record(n % 2, n));
    });
    const ask = async (n: number) => (await older.find(idOf(n % 2), n))?.sha256;
    for (let n = 1; n <= 4_000; n += 1) {
      assert.equal(await ask(n), n === 500 ? undefined : sha256(`${n % 2} ${n}`));
    }
    assert.equal(readings, 3, 'one for each stream, and one behind the batch that is not there');
    older.forget(idOf(1));
    assert.equal(await ask(1), sha256('1 1'));
    assert.equal(readings, 4);
  });

  it('are looked for again when the index could not be read', async () => {
    let fails = true;
    const older = new OlderBatches(async (onRecord) => {
      if (fails) throw new Error('EIO');
      onRecord(record(1, 1));
    });
    await assert.rejects(older.find(idOf(1), 1), /EIO/);
    fails = false;
    assert.equal((await older.find(idOf(1), 1))?.number, 1);
  });
});
