import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { openQueueFixture } from './helpers.js';
import { JobBench } from './modelJobs.js';
import { MutantBench, mutant } from './mutants.js';

const q = await openQueueFixture();
await q.data.config('SET', 'appendfsync', 'no');
const jobs = new JobBench(q);
q.closing.push(() => jobs.close());
const bench = new MutantBench(q, jobs);
failOnLeaks();

const RUNS = 300;

/** One small mistake per line; the whole of them: `npm run mutants`. */
const MISTAKES = [
  mutant('open', 'tonumber(cur[2]) >= tonumber(ARGV[4])', 'tonumber(cur[2]) > tonumber(ARGV[4])'),
  mutant('open', "redis.call('DEL', KEYS[2])", ''),
  mutant('open', '(notBefore, tonumber(cur[4]) or 0,', '(notBefore,'),
  mutant('open', ', tonumber(cur[5]) or 0)', ')'),
  mutant('open', "redis.call('HGET', KEYS[1], 'previous') == ARGV[7]", 'true'),
  mutant('accept', 'if seq ~= tail + 1 then', 'if false then'),
  mutant('accept', 'r[1] ~= ARGV[1] or r[2] ~= ARGV[2]', 'r[1] ~= ARGV[1]'),
  mutant('begin', 'if seq > head or seq > tonumber(r[4])', 'if seq > tonumber(r[4])'),
  mutant('begin', 'if free > now then', 'if false then'),
  mutant('begin', 'math.max(tonumber(r[6]) or 0, tonumber(r[7]) or 0)', 'tonumber(r[6])'),
  mutant('renew', 'or r[2] ~= ARGV[2]', ''),
  mutant('fail', "and r[6] ~= '1'", ''),
  mutant('fail', 'attempts >= limit', 'attempts > limit'),
  mutant(
    'ack',
    "or r[3] ~= ARGV[3] then return { 'stale', head } end",
    "then return { 'stale', head } end",
  ),
  mutant('ack', "redis.call('HGET', KEYS[2], prior)", "redis.call('HGET', KEYS[2], seq - 1)"),
  mutant('ack', "'chain', ARGV[7]", "'chain', ''"),
  mutant('begin', "r[14] or ''", "''"),
  mutant('skip', "'resend', 0, 'survived', 1", "'resend', 0"),
  mutant('skip', "if lease > now then return { 'wait', lease - now } end", ''),
  mutant('skip', 'tonumber(r[6]) < seq', 'tonumber(r[6]) <= seq'),
  mutant('skip', 'if head < seq then', 'if false then'),
  mutant('hold', "'blocked', '', 'attempts', 0", "'blocked', ''"),
  mutant('beginBlob', 'tonumber(r[3]) <= tonumber(ARGV[5])', 'tonumber(r[3]) < tonumber(ARGV[5])'),
  mutant('beginBlob', 'if free > now then', 'if false then'),
  mutant('beginBlob', 'tonumber(ARGV[4]) <= state.version', 'tonumber(ARGV[4]) < state.version'),
  mutant('endBlob', 'or state.holder ~= ARGV[3]', ''),
  mutant('endBlob', 'state.error = nil', ''),
];

describe('a model notices a mistake in a script', () => {
  for (const one of MISTAKES) {
    it(`${one.script}: ${one.was} -> ${one.now || 'nothing'}`, async () => {
      const judge = await bench.noticedBy(one, RUNS);
      assert.ok(judge !== undefined && judge !== 'invalid', String(judge));
    });
  }

  it('and finds none in the scripts as they are', async () => {
    const same = mutant('ack', '-- Not always seq - 1:', '-- It is not always seq - 1:');
    assert.equal(await bench.noticedBy(same, 20), undefined);
  });
});
