import type { ErrorKind } from '../common/errors.js';
import type { Keys } from './keys.js';
import type { ScriptConnection } from './scriptConnection.js';

/**
 * What an operator's command asks of the producer that has a journal, by way of Redis: only that
 * process may write to the spool.
 *
 *     put --claimed by the producer--> carried out --> answered
 *      +--withdrawn by the command
 *
 * Whoever removes an ask has it, and one whose command was killed is gone with its patience. So one
 * that is withdrawn is never carried out later, and one whose producer died before it wrote
 * anything down is gone.
 */
export type Ask = SkipAsk | ReplayAsk;

interface AskOf<What extends string> {
  /** Random; the answer goes by it. */
  id: string;
  route: string;
  what: What;
  /** The user who said so. */
  by: string;
}

export interface SkipAsk extends AskOf<'skip'> {
  /** The blocked batch; null: all that waits for an orphaned route. */
  sequence: number | null;
  reason: string;
}

/** Delivered batches are to go out again; see `producers/replay.ts`. */
export interface ReplayAsk extends AskOf<'replay'> {
  /** Null: the replay that goes on is to be ended. */
  from: number | null;
  /** Null: the last delivered one. */
  to: number | null;
  /** Given-up batches that go out all the same. */
  named: readonly number[];
  /** Only say what would be sent. */
  dry: boolean;
}

/** What was given up. */
export interface GivenUp {
  batches: number;
  bytes: number;
  /** The file that keeps the batch; null: none was kept. */
  kept: string | null;
}

/** What a replay sends, or what is left of one that was ended. */
export interface Replayed {
  from: number;
  to: number;
  batches: number;
  bytes: number;
  /** When the first and the last of them were captured, ms since the epoch; 0: not known. */
  firstSealedAtMs: number;
  lastSealedAtMs: number;
  /** Given-up batches in between that are not sent. */
  leftOut: number;
  /** Batches that wait behind it. */
  waiting: number;
}

/** What comes of an ask. */
export type Done<A extends Ask = Ask> = A extends SkipAsk ? GivenUp : Replayed;

export type AskAnswer =
  | { ok: true; done: Done }
  | { ok: false; code: string; kind: ErrorKind; message: string; hint: string };

/** A producer that runs claims an ask within this: it looks every 5 s, and when it is told. */
export const CLAIM_PATIENCE_MS = 12_000;
/** The command withdraws its ask itself; this is for one that was killed. */
const SLACK_MS = 3_000;
/** Long enough for a command that was stopped for a while. */
const ANSWER_KEPT_S = 600;

export class Asks {
  constructor(
    private readonly scripts: ScriptConnection,
    private readonly keys: Keys,
  ) {}

  async put(ask: Ask): Promise<void> {
    const { keys } = this;
    await this.scripts.ask(async (redis) => {
      await redis
        .multi()
        .hset(keys.asks(), ask.id, JSON.stringify(ask))
        .pexpire(keys.asks(), CLAIM_PATIENCE_MS + SLACK_MS)
        .exec();
      await redis.publish(keys.news(), `ask ${ask.route}`);
    });
  }

  /** Everything that nobody has claimed. */
  async waiting(): Promise<Ask[]> {
    const all = await this.scripts.ask((redis) => redis.hvals(this.keys.asks()));
    return all.map((raw) => JSON.parse(raw) as Ask);
  }

  /** To carry it out, or to withdraw it. False: somebody else has it. */
  async claim(id: string): Promise<boolean> {
    return (await this.scripts.ask((redis) => redis.hdel(this.keys.asks(), id))) === 1;
  }

  async answer(id: string, answer: AskAnswer): Promise<void> {
    const text = JSON.stringify(answer);
    await this.scripts.ask((redis) => redis.set(this.keys.answer(id), text, 'EX', ANSWER_KEPT_S));
  }

  /** null: not answered yet. */
  async answerTo(id: string): Promise<AskAnswer | null> {
    const raw = await this.scripts.ask((redis) => redis.get(this.keys.answer(id)));
    return raw === null ? null : (JSON.parse(raw) as AskAnswer);
  }
}
