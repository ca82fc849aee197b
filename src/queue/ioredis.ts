import { createRequire } from 'node:module';
import type * as package_ from 'ioredis';

/** What we use of ioredis, loaded with `require`; why: see `bullmq.ts`. */
const ioredis = createRequire(import.meta.url)('ioredis') as typeof package_;

export const { AbstractConnector, Redis } = ioredis;

export type AbstractConnector = package_.AbstractConnector;
export type Redis = package_.Redis;
export type RedisOptions = package_.RedisOptions;
