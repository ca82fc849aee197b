import type { ScriptName } from '../../src/queue/scriptConnection.js';

/** Mutants that nobody can notice, and why: the line as it is then. */
export const EQUIVALENT: readonly { script: ScriptName; now: string; because: string }[] = [
  {
    script: 'beginBlob',
    now: "if free >= now then return { 'wait', free - now } end",
    because: 'a lease that ends in this very millisecond has ended',
  },
  {
    script: 'endBlob',
    now: 'if tonumber(ARGV[5]) >= state.version then',
    because: 'its holder confirms one version, which it writes down once more',
  },
  {
    script: 'endBlob',
    now: 'if true then',
    because: 'who holds the lease of a version below the confirmed one was never let begin',
  },
];
