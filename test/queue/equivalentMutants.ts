import type { ScriptName } from '../../src/queue/scriptConnection.js';

/** Mutants that nobody can notice, and why: the line as it is then. */
export const EQUIVALENT: readonly { script: ScriptName; now: string; because: string }[] = [];
