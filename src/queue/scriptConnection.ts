import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { FerryError } from '../common/errors.js';
import { resource } from '../common/resources.js';
import { connectRedis, type RedisClient, type RedisTarget } from './connection.js';
import {
  durabilityWarning,
  type InspectOptions,
  inspectRedis,
  type RedisFacts,
} from './durability.js';
import { redisAway, redisTrouble } from './trouble.js';

/** File name without `.lua` -> number of keys. Headers of the files say what they decide. */
export const SCRIPTS = {
  open: 3,
  accept: 2,
  begin: 2,
  renew: 1,
  fail: 1,
  ack: 3,
  skip: 3,
  repeat: 1,
  hold: 1,
  beginBlob: 3,
  endBlob: 1,
} as const;

export type ScriptName = keyof typeof SCRIPTS;

type ScriptCall = (...args: (string | number)[]) => Promise<unknown>;

/**
 * One connection that runs our scripts, and knows which Redis run it talks to.
 *
 * Commands fail at once while Redis is away and are never sent twice, so a caller that got an
 * answer got it from the run whose id it passed.
 */
export class ScriptConnection {
  readonly client: RedisClient;
  #facts: RedisFacts | null = null;
  #refusal: FerryError | null = null;
  #ready: PromiseWithResolvers | null = newGate();
  #closed = false;
  readonly #listeners = new Set<(facts: RedisFacts) => void>();
  readonly #log: Logger;
  readonly #inspectOptions: InspectOptions;
  #saidDown = false;
  /** Counts connections that ended. */
  #connection = 0;
  #saidDurability = '';

  constructor(target: RedisTarget, log: Logger) {
    this.#log = log;
    const { config } = target;
    this.#inspectOptions = {
      allowWithoutAof: config.allowWithoutAof,
      failsOver: config.kind === 'url' && (config.sentinels !== null || config.cluster !== null),
    };
    this.client = connectRedis(target, 'script');
    for (const [name, numberOfKeys] of Object.entries(SCRIPTS)) {
      const lua = readFileSync(resource(`queue/scripts/${name}.lua`), 'utf8');
      this.client.defineCommand(`ferry_${name}`, { lua, numberOfKeys });
    }
    this.client.on('error', (error: Error) => this.#sayDown(error));
    this.client.on('close', () => {
      this.#connection += 1;
      this.#facts = null;
      this.#ready ??= newGate();
    });
    this.client.on('ready', () => void this.#inspect());
  }

  /** The server of this connection; null while it is away or refused by the start checks. */
  get facts(): RedisFacts | null {
    return this.#facts;
  }

  /** Why the server is not used although it answers; null when that is not the case. */
  get refusal(): FerryError | null {
    return this.#refusal;
  }

  /** Called at once and after each (re)connection, with the facts of the server. */
  onReady(listener: (facts: RedisFacts) => void): () => void {
    this.#listeners.add(listener);
    if (this.#facts !== null) listener(this.#facts);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when Redis is there and passed the checks; rejects when the connection is closed. */
  async ready(): Promise<RedisFacts> {
    while (this.#facts === null) {
      if (this.#closed) throw redisAway('the connection was closed');
      await this.#ready?.promise;
    }
    return this.#facts;
  }

  /**
   * Runs a script against the present Redis run.
   *
   * @throws FerryError REDIS_AWAY (kind redis): nothing is known of the outcome, ask again later;
   *   REDIS_FULL: it was refused
   */
  async run(name: ScriptName, keys: string[], args: (string | number)[]): Promise<unknown> {
    if (this.#facts === null) throw redisAway('not connected');
    const call: unknown = Reflect.get(this.client, `ferry_${name}`);
    try {
      return await (call as ScriptCall).call(this.client, ...keys, ...args);
    } catch (error) {
      throw redisTrouble(`script ${name} failed`, error);
    }
  }

  /**
   * Asks for something that is no decision, and so needs no script.
   *
   * @throws FerryError as `run`
   */
  async ask<T>(question: (client: RedisClient) => Promise<T>): Promise<T> {
    try {
      return await question(this.client);
    } catch (error) {
      throw redisTrouble('a question failed', error);
    }
  }

  /** The run id to pass to a script: of the server this connection is open to now. */
  runId(): string {
    if (this.#facts === null) throw redisAway('not connected');
    return this.#facts.runId;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#facts = null;
    this.#ready?.resolve();
    this.client.disconnect();
  }

  async #inspect(): Promise<void> {
    const connection = this.#connection;
    try {
      const facts = await inspectRedis(this.client, this.#inspectOptions);
      // Facts of a connection that is gone say nothing of the server behind the next one.
      if (this.#closed || connection !== this.#connection) return;
      this.#refusal = null;
      this.#facts = facts;
      this.#ready?.resolve();
      this.#ready = null;
      const warning = durabilityWarning(facts.durability);
      if (warning !== null && facts.durability !== this.#saidDurability) {
        this.#saidDurability = facts.durability;
        this.#log.warn({ code: 'REDIS_MAY_LOSE', durability: facts.durability }, warning);
      }
      if (this.#saidDown) this.#log.info('Redis is back');
      this.#saidDown = false;
      for (const listener of this.#listeners) listener(facts);
    } catch (error) {
      if (this.#closed) return;
      if (error instanceof FerryError) {
        if (this.#refusal?.code !== error.code) {
          this.#log.error({ err: error }, 'this Redis is not used');
        }
        this.#refusal = error;
      } else {
        this.#sayDown(error);
      }
      // Look again: an operator may have changed the setting meanwhile, or Redis is still loading.
      // Instead of a replica there may be a primary by now, at the same address or at another.
      const elsewhere = error instanceof FerryError && error.code === 'REDIS_REPLICA';
      setTimeout(() => {
        if (this.#closed || this.client.status !== 'ready') return;
        if (elsewhere) this.client.disconnect(true);
        else void this.#inspect();
      }, INSPECT_AGAIN_MS).unref();
    }
  }

  #sayDown(error: unknown): void {
    if (this.#saidDown || this.#closed) return;
    this.#saidDown = true;
    this.#log.warn({ err: error }, 'Redis cannot be reached; journals are left alone until it is');
  }
}

/** Between two looks at a Redis that the start checks refused. */
const INSPECT_AGAIN_MS = 2_000;

interface PromiseWithResolvers {
  promise: Promise<void>;
  resolve(): void;
}

function newGate(): PromiseWithResolvers {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
