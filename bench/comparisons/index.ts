import type { Comparison } from '../harness/comparison.js';
import { largeBlob, smallBlobs } from './blobs.js';
import { captures } from './captures.js';
import { deadDestination } from './deadDestination.js';
import { drain } from './drain.js';
import { growth } from './growth.js';
import { idle } from './idle.js';
import { largeJournal } from './largeJournal.js';
import { latency } from './latency.js';
import { lockWait } from './lockWait.js';
import { oldWire, workers } from './oldWire.js';
import { peers } from './peers.js';
import { receiverProcesses } from './receiverProcesses.js';
import { redisPayloads } from './redisPayloads.js';
import { wires } from './wires.js';

/** In the order of the report. */
export const COMPARISONS: readonly Comparison[] = [
  latency,
  largeJournal,
  largeBlob,
  smallBlobs,
  lockWait,
  captures,
  drain,
  oldWire,
  workers,
  wires,
  receiverProcesses,
  deadDestination,
  redisPayloads,
  idle,
  growth,
  peers,
];
