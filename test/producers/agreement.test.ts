import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Opening, openingOf } from '../../src/producers/agreement.js';
import type { RouteMark, SpoolView } from '../../src/producers/spool/types.js';
import type { RouteState } from '../../src/queue/routeState.js';

const RUN = 'run-1';
/** Ten batches captured, eight handed to Redis, five confirmed. */
const spool = { stream: 'ours', lastSequence: 10 } as SpoolView;
const mark = { generation: 3, acked: 5, accepted: 8, replay: null } as RouteMark;
const state = { stream: 'ours', generation: 3, head: 6, tail: 8, run: RUN } as RouteState;

interface Case {
  is: Opening;
  when: string;
  mark?: Partial<RouteMark>;
  state: Partial<RouteState> | null;
  openedOnce?: boolean;
  left?: string;
}

const cases: readonly Case[] = [
  { is: 'first', when: 'it was never there', mark: { generation: 0, accepted: 0 }, state: null },
  { is: 'lost', when: 'what it accepted is gone', state: null },
  { is: 'gone', when: 'all it accepted was confirmed', mark: { accepted: 5 }, state: null },
  { is: 'resume', when: 'it is as it was left', state: {} },
  { is: 'resume', when: 'it was, in another run', state: { run: 'run-0' } },
  { is: 'resume', when: 'it confirmed more meanwhile', state: { head: 9 } },
  { is: 'lost', when: 'it forgot a confirmation', state: { head: 5 } },
  { is: 'lost', when: 'it forgot what it accepted', state: { tail: 7 } },
  { is: 'jumped', when: 'a replay began', state: { generation: 2 } },
  { is: 'lost', when: 'one began, and it is another run', state: { generation: 2, run: 'run-0' } },
  { is: 'ahead', when: 'it accepted what was not captured', state: { tail: 11 } },
  { is: 'ahead', when: 'it confirmed what was not captured', state: { head: 12, tail: 10 } },
  { is: 'ahead', when: 'it is of a later generation', state: { generation: 4 } },
  {
    is: 'foreign',
    when: 'a new spool finds another stream',
    mark: { generation: 0 },
    state: { stream: 'other' },
  },
  {
    is: 'contested',
    when: 'it was ours a moment ago',
    state: { stream: 'other' },
    openedOnce: true,
  },
  { is: 'lost', when: 'it has another stream at the start', state: { stream: 'other' } },
  {
    is: 'left',
    when: 'it has the stream before',
    state: { stream: 'other' },
    openedOnce: true,
    left: 'other',
  },
];

for (const { is, when, left, ...c } of cases) {
  test(`a route is ${is} when ${when}`, () => {
    const opening = openingOf(
      spool,
      { ...mark, ...c.mark },
      c.state === null ? null : { ...state, ...c.state },
      RUN,
      {
        openedOnce: c.openedOnce ?? false,
        formerStreams: new Set(left === undefined ? [] : [left]),
      },
    );
    assert.equal(opening, is);
  });
}
