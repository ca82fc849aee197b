import { createRequire } from 'node:module';
import type * as package_ from 'bullmq';

/**
 * What we use of bullmq, loaded with `require`: `import` of a CommonJS package first searches each
 * of its 172 files for the names that it exports, in JavaScript, and that was a third of the time
 * that `ferry run` needs to start.
 */
const bullmq = createRequire(import.meta.url)('bullmq') as typeof package_;

export const { DelayedError, Job, Queue, UnrecoverableError, Worker } = bullmq;

// biome-ignore lint/suspicious/noExplicitAny: as in bullmq
export type Job<Data = any> = package_.Job<Data>;
// biome-ignore lint/suspicious/noExplicitAny: as in bullmq
export type Queue<Data = any> = package_.Queue<Data>;
export type Worker = package_.Worker;
export type JobsOptions = package_.JobsOptions;
