import type { Comparison } from '../harness/comparison.js';
import { largeBlob, smallBlobs } from './blobs.js';
import { largeJournal } from './largeJournal.js';
import { latency } from './latency.js';

/** In the order of the report. */
export const COMPARISONS: readonly Comparison[] = [latency, largeJournal, largeBlob, smallBlobs];
