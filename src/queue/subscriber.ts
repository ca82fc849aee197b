import { connectRedis, type RedisClient, type RedisTarget } from './connection.js';

/**
 * Messages between our processes. A message is a hint to look, never the truth: one that is lost
 * while Redis is away costs a little time, because everybody also looks by himself now and then.
 */
export class Subscriber {
  readonly #client: RedisClient;
  readonly #listeners = new Map<string, Set<(message: string) => void>>();

  constructor(target: RedisTarget) {
    this.#client = connectRedis(target, 'subscribe');
    this.#client.on('error', () => undefined); // said once by the script connection
    this.#client.on('message', (channel: string, message: string) => {
      for (const listener of this.#listeners.get(channel) ?? []) listener(message);
    });
  }

  /** Subscribes, again after every reconnection; returns the way to stop. */
  listen(channel: string, listener: (message: string) => void): () => void {
    let listeners = this.#listeners.get(channel);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(channel, listeners);
      this.#client.subscribe(channel).catch(() => undefined); // ioredis subscribes again by itself
    }
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  close(): void {
    this.#listeners.clear();
    this.#client.disconnect();
  }
}
